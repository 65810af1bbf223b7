"""constraints.txt: a version for every requirement of setup.cfg, which installs anywhere."""

from __future__ import annotations

import runpy
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from batch_predictions_tests.worlds.paths import ROOT

UNTESTED = {"adbc-driver-bigquery", "adbc-driver-snowflake"}
"""Drivers of services that no test can reach."""


def script() -> dict[str, Any]:
    """The functions of the script behind `make constraints`."""
    return runpy.run_path(str(ROOT / ".ci" / "constraints.py"))


def constraints() -> dict[str, Requirement]:
    """The lines of constraints.txt, by package."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(each.name): each for each in requirements}


def test_every_requirement_has_a_tested_version_within_its_range() -> None:
    tested = constraints()
    requirements = script()["direct_requirements"]()
    assert len(requirements) > 40
    problems = []
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name not in tested:
            problems += [f"no line for {name}"] * (name not in UNTESTED)
            continue
        [pin] = tested[name].specifier
        if not requirement.specifier.contains(pin.version):
            problems.append(f"{tested[name]} is not {requirement}")
    assert not problems, f"make constraints, with all extras: {problems}"


def test_a_version_installs_from_any_index_on_any_machine() -> None:
    for name, requirement in constraints().items():
        [pin] = requirement.specifier
        assert pin.operator == "==" and requirement.marker is None and requirement.url is None
        assert Version(pin.version).local is None, name


def test_the_script_lists_what_a_requirement_requires_too() -> None:
    versions = script()["installed_versions"]([Requirement("dagster>=1"), Requirement("torch")])
    assert {"dagster", "dagster-shared", "sqlalchemy", "torch", "sympy"} <= set(versions)
    assert "+" not in versions["torch"] and "setuptools" not in versions
