"""The built wheels work outside a checkout: the platform's, and that of lookups alone."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.programs import run_python

pytestmark = pytest.mark.slow

Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels by the name of their distribution."""
    target = tmp_path_factory.mktemp("dist")
    run_python(str(ROOT / ".ci" / "build_wheels.py"), str(target))
    return {path.name.partition("-")[0]: path for path in target.glob("*.whl")}


def install(wheel: Path, folder: Path) -> Run:
    """A runner of an environment with a wheel, whose requirements are those of this one.

    Packages of this environment are found behind the wheel's, the checkout is not.
    """
    run_python("-m", "venv", "--without-pip", str(folder))
    scheme = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    packages = Path(scheme["purelib"])
    run_python(
        "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages), str(wheel)
    )
    (packages / "requirements.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    env = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONPATH" and not name.startswith("BATCH_PREDICTIONS_")
    }

    def run(*words: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        command = [str(folder / "bin" / "python"), "-P", "-m", "batch_predictions.cli", *words]
        work = folder / "work"
        work.mkdir(exist_ok=True)
        ended = subprocess.run(
            command, cwd=work, env=env | more, capture_output=True, text=True, timeout=900
        )
        assert not check or ended.returncode == 0, ended.stderr
        return ended

    return run


def test_the_platform_goes_from_an_example_to_a_lookup(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    run = install(wheels["batch_predictions"], tmp_path / "env")
    assert run("--version").stdout.startswith("batch-predictions ")
    run("init", "--example", "clicks")
    light = {
        "BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE": "false",
        "BATCH_PREDICTIONS_DEMAND__CANDIDATES": '["linear_regression"]',
    }
    summary = json.loads(run("run", "--json", **light).stdout)
    assert not summary["failed"] and summary["release_id"]
    answer = json.loads(run("lookup", "recommendations", "U00001", "--json").stdout)
    assert answer["source"] == "personal" and answer["items"]
    assert "report.html: " in run("report", "--out", "report.html").stdout


def test_wheels_have_the_files_that_are_read_and_nothing_else(wheels: dict[str, Path]) -> None:
    for wheel in wheels.values():
        with zipfile.ZipFile(wheel) as archive:
            names = {name for name in archive.namelist() if ".dist-info/" not in name}
        files = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / "batch_predictions").rglob("*")
            if path.is_file() and path.suffix not in (".pyc", ".nbi", ".nbc")
        }
        assert names == files


def test_lookups_alone_need_neither_torch_nor_dagster(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["batch_predictions_lookup"]) as archive:
        [path] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        lines = archive.read(path).decode().splitlines()
    assert "Name: batch-predictions-lookup" in lines
    required = {line.split()[1].split(">")[0] for line in lines if line.startswith("Requires-Dist")}
    assert "sqlalchemy" in required and "psycopg[binary]" in required
    assert not required & {"torch", "dagster", "duckdb", "pandas", "pyarrow", "numpy", "lightgbm"}
