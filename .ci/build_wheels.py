"""Builds both distributions into a folder: `python .ci/build_wheels.py dist`.

`batch-predictions` is the platform. `batch-predictions-lookup` is the same package with the
requirements of `Lookup`, `lookup` and `serve` alone (deployment/docker/serve-requirements.txt):
applications that look predictions up install neither torch nor Dagster. An extra could only add
requirements. Install one of them: both have the package `batch_predictions`.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("LICENSE", "README.md", "pyproject.toml", "setup.cfg")
REQUIREMENTS = ROOT / "deployment" / "docker" / "serve-requirements.txt"


def build(target: Path) -> list[Path]:
    """Builds both wheels; their paths.

    Args:
        target: folder, which may exist.
    """
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        shutil.copytree(ROOT / "batch_predictions", tree / "batch_predictions")
        for file in FILES:
            shutil.copy(ROOT / file, tree)
        _build_wheel(tree, target)
        _restrict_requirements(tree / "setup.cfg")
        _build_wheel(tree, target)
    return sorted(target.glob("*.whl"))


def _build_wheel(tree: Path, target: Path) -> None:
    # The tree is no repository: it has no tag.
    version = subprocess.check_output([sys.executable, "-m", "setuptools_scm"], cwd=ROOT, text=True)
    env = os.environ | {"SETUPTOOLS_SCM_PRETEND_VERSION": version.strip()}
    shutil.rmtree(tree / "build", ignore_errors=True)
    words = ["pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(tree)]
    subprocess.run([sys.executable, "-m", *words], check=True, env=env)  # noqa: S603 - words of this file


def _restrict_requirements(path: Path) -> None:
    """Makes the metadata those of batch-predictions-lookup, with the ranges of setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read(path, encoding="utf-8")
    ranges = "\n".join(
        [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    )
    by_name = {_name_of(line): line for line in ranges.splitlines() if line and line[0] != "#"}
    wanted = [
        line for line in REQUIREMENTS.read_text("utf-8").splitlines() if line and line[0] != "#"
    ]
    setup["metadata"]["name"] = "batch-predictions-lookup"
    setup["metadata"]["description"] = (
        "Looks predictions of batch-predictions up, and serves them over HTTP."
    )
    setup["options"]["install_requires"] = "\n".join(
        ["", *(by_name[_name_of(line)] for line in wanted)]
    )
    setup.remove_section("options.extras_require")
    with path.open("w", encoding="utf-8") as file:
        setup.write(file)


def _name_of(requirement: str) -> str:
    return requirement.split(">")[0].split("=")[0].split("[")[0].strip()


if __name__ == "__main__":
    for wheel in build(Path(sys.argv[1])):
        print(f"{wheel}: {wheel.stat().st_size / 1e6:.1f} MB")
