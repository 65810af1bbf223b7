"""Prints constraints.txt: the versions of the environment that it runs in.

Only what the platform and its extras require, directly or not. Versions have no local part
(`+cpu`), so that they install from any index: `==2.13.0` admits `2.13.0+cpu`.
"""

from __future__ import annotations

import configparser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HEADER = """\
# Versions with which all tests pass, beside the ranges of setup.cfg. Written by
#   make CONSTRAINTS= EXTRAS=dev,encoder,kubernetes,postgres,ray,snowflake,sql \\
#     clean test constraints
# Installed by
#   pip install -c constraints.txt 'batch-predictions[postgres]'
"""


SETUP = Path(__file__).parent.parent / "setup.cfg"


def direct_requirements() -> list[Requirement]:
    """Those of the platform and of all its extras."""
    setup = configparser.ConfigParser()
    setup.read(SETUP, encoding="utf-8")
    lists = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    return [Requirement(line) for lines in lists for line in lines.split("\n") if line]


def installed_versions(requirements: list[Requirement]) -> dict[str, str]:
    """Public versions of what is installed of requirements, and of what those require."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    # A package without extras, "", and with each extra that is asked for.
    queue = [(each.name, extra) for each in requirements for extra in ("", *each.extras)]
    while queue:
        name, extra = queue.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            package = distribution(name)
        except PackageNotFoundError:  # Of an extra that is not installed.
            continue
        versions[canonicalize_name(name)] = Version(package.version).public
        for required in map(Requirement, package.requires or []):
            if required.marker is None or required.marker.evaluate({"extra": extra}):
                queue += [(required.name, each) for each in ("", *required.extras)]
    # It comes with the environment, and old ones do not run on newer Pythons.
    versions.pop("setuptools", None)
    return versions


if __name__ == "__main__":
    print(HEADER, end="")
    for name, version in sorted(installed_versions(direct_requirements()).items()):
        print(f"{name}=={version}")
