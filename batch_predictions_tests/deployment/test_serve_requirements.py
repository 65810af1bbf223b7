"""The image of `serve`: the service answers with the packages of serve-requirements.txt alone."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from batch_predictions.serving.release_files.destinations import export_current
from batch_predictions_tests.worlds.deployment import DEPLOYMENT
from batch_predictions_tests.worlds.http_service import publish_all, serve_process
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.serving import ServingWorld, open_world

REQUIREMENTS = DEPLOYMENT / "docker" / "serve-requirements.txt"
ROUTES = {
    "/readyz": 200,
    "/metrics": 200,
    "/openapi.json": 200,
    "/v1/recommendations/u1": 200,
    "/v1/recommendations/nobody?age_bracket=30": 200,
    "/v1/users/u1": 200,
    "/v1/audiences/retention?format=csv": 200,
    "/v1/items/a1/sentiment": 200,
    "/v1/items/a1/forecast": 200,
    "/v1/orders": 200,
    "/v1/predictions/churn_scores/u1": 200,
    "/v1/releases": 200,
    "/explorer/users/u1": 200,
    "/explorer/items/a1": 200,
    "/explorer/retention": 200,
    "/no/such/address": 404,
}
BLOCK = """
import importlib.abc, sys
blocked = set({names!r})
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{{name}} is not in this image", name=name)
sys.meta_path.insert(0, Blocker())
"""


def requirements() -> list[Requirement]:
    """The lines of the file."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def installed_closure() -> set[str]:
    """Names of the required packages that are installed, and of what they require."""
    script = runpy.run_path(str(ROOT / ".ci" / "constraints.py"))
    return set(script["installed_versions"](requirements()))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingWorld]:
    """A home with a release of every table, exported to `files`."""
    world = open_world(tmp_path_factory.mktemp("image") / "home")
    publish_all(world)
    export_current(world.settings, world.settings.home.parent / "files")
    yield world
    world.store.close()


@pytest.fixture(scope="module")
def blocking(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a process that can import the requirements and the platform only."""
    allowed = installed_closure() | {"batch-predictions"}
    blocked = {
        module
        for module, packages in packages_distributions().items()
        if not allowed & {canonicalize_name(name) for name in packages}
    }
    assert {"dagster", "duckdb", "pyarrow", "numpy", "torch", "pandas"} <= blocked
    assert not {"fastapi", "batch_predictions", "sqlalchemy", "rich"} & blocked
    folder = tmp_path_factory.mktemp("blocking")
    # Python imports it at its start, also in workers.
    (folder / "sitecustomize.py").write_text(BLOCK.format(names=sorted(blocked - {"setuptools"})))
    path = os.pathsep.join([str(folder), str(ROOT)])
    return {"PYTHONPATH": path}


def test_what_is_not_required_cannot_be_imported(blocking: dict[str, str]) -> None:
    process = subprocess.run(
        [sys.executable, "-c", "import duckdb"],
        env={**os.environ, **blocking},
        capture_output=True,
        text=True,
    )
    assert "duckdb is not in this image" in process.stderr


@pytest.mark.slow
@pytest.mark.parametrize("source", ["store", "files"])
def test_the_service_answers_everything_with_these_packages(
    shop: ServingWorld, blocking: dict[str, str], source: str, tmp_path: Path
) -> None:
    options = ["--workers", "2"]
    if source == "files":
        options += ["--release-dir", str(shop.settings.home.parent / "files")]
        options += ["--copy-to", str(tmp_path / "copies")]
    home = shop.settings.home if source == "store" else tmp_path / "none"
    with serve_process(home, *options, **blocking) as (client, _):
        for path, status in ROUTES.items():
            reply = client.get(path)
            assert reply.status == status, (path, reply.body)
        user = {"age_bracket": "30"}
        event = {"event_id": "e1", "event_type": "click", "user_id": "u1", "item_id": "a1"}
        posted = client.send("POST", "/v1/events", {"events": [event]})
        stored = client.send("PUT", "/v1/users/new", user)
        # Services of release files take no writes: nobody would read them.
        expected = 200 if source == "store" else 409
        assert posted.status == expected, posted.body
        assert stored.status // 100 == expected // 100, stored.body


def test_every_requirement_is_one_of_the_platform() -> None:
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    for requirement in requirements():
        assert re.search(rf"^    {re.escape(requirement.name)}[\[>]", setup, re.M), requirement
        assert not requirement.specifier, "versions are in setup.cfg and constraints.txt"
