# Shortcuts for plain commands, which the README gives too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# With every extra: make EXTRAS=dev,encoder,kubernetes,postgres,ray,snowflake,sql test-all
EXTRAS ?= dev
# Tested versions; without, the newest that setup.cfg allows: make CONSTRAINTS= setup
CONSTRAINTS ?= constraints.txt
LOWEST := .venv-lowest
comma := ,
export BATCH_PREDICTIONS_HOME ?= $(CURDIR)/.batch_predictions

.DEFAULT_GOAL := help
.PHONY: help setup demo docs test test-all test-lowest coverage gpu constraints lint ui wheels sbom clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Installs again only when the dependencies change, or for other extras or constraints.
INSTALLED := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))$(if $(CONSTRAINTS),,-newest)
$(INSTALLED): setup.cfg pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  $(addprefix -c ,$(CONSTRAINTS)) -e '.[$(EXTRAS)]'
	touch $@

setup: $(INSTALLED)  ## virtual environment with everything installed

demo: setup  ## run on a grocer's year of real shopping and look at what was made
	$(BIN)/batch-predictions demo

docs: setup  ## the site of the documentation, site/index.html; needs EXTRAS=dev,docs
	$(BIN)/python .ci/reference.py
	$(BIN)/zensical build --strict

test: setup  ## quick tests
	$(BIN)/python -m pytest -m 'not slow'

test-all: setup  ## all tests
	$(BIN)/python -m pytest

coverage: setup  ## share of the lines that quick tests run in their own process
	$(BIN)/python -m pytest -m 'not slow' --cov=batch_predictions --cov-report=term:skip-covered

gpu: setup  ## tests and figures of what a GPU computes, beside the CPU
	$(BIN)/python benchmarks/gpu.py --json gpu.json

# Of direct requirements; theirs are the newest.
test-lowest:  ## all tests with the lowest versions that setup.cfg allows
	test -x $(LOWEST)/bin/uv || \
	  { $(PYTHON) -m venv $(LOWEST) && $(LOWEST)/bin/python -m pip install --quiet uv; }
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python \
	  --resolution lowest-direct -e '.[$(EXTRAS)]'
	$(LOWEST)/bin/python -m pytest

constraints: setup  ## write the versions of the virtual environment to constraints.txt
	$(BIN)/python .ci/constraints.py >constraints.new
	mv constraints.new constraints.txt

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: setup  ## Dagster on this home folder, http://127.0.0.1:3000
	$(BIN)/batch-predictions ui

wheels: setup  ## both distributions, in dist/
	$(BIN)/python .ci/build_wheels.py dist

sbom: setup  ## bill of materials of the environment, dist/batch_predictions.cdx.json, and licences, dist/licences.md
	mkdir -p dist
	$(BIN)/cyclonedx-py environment $(BIN)/python --of JSON -o dist/batch_predictions.cdx.json
	$(BIN)/python .ci/licences.py dist/batch_predictions.cdx.json > dist/licences.md

clean:  ## remove the virtual environments; the home folder stays
	rm -rf $(VENV) $(LOWEST) *.egg-info
