"""Lists the licences in a bill of materials as Markdown: `python .ci/licences.py FILE.cdx.json`."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any


def licence_of(component: dict[str, Any]) -> str:
    """The SPDX expression or name of a component's licence, else what the package says of it."""
    names = [
        entry.get("expression") or entry["license"].get("id") or entry["license"]["name"]
        for entry in component.get("licenses", [])
    ]
    if names:
        return min(names, key=len).removeprefix("License :: OSI Approved :: ")
    try:
        return (metadata(component["name"])["License"] or "see the package").splitlines()[0]
    except PackageNotFoundError:
        return "see the package"


def main(file: Path) -> None:
    """Prints a table of packages with versions and licences."""
    components = json.loads(file.read_text("utf-8"))["components"]
    print("| package | version | licence |\n| --- | --- | --- |")
    for component in sorted(components, key=lambda component: component["name"].lower()):
        print(f"| {component['name']} | {component['version']} | {licence_of(component)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
