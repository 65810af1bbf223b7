"""Packages of a user, loaded as plugins; and the module that a page of the docs shows."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from batch_predictions.tables import discovery
from batch_predictions_tests.worlds.paths import ROOT


def documented_module(page: str) -> str:
    """The only Python module of a page, such as `how_to/add_forecaster.md`."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    [module] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return str(module)


def load_package(
    folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, modules: Mapping[str, str]
) -> Path:
    """Writes a package, text by module, and loads it as the only plugin of a test; its folder."""
    path = folder / package
    path.mkdir()
    (path / "__init__.py").write_text("", "utf-8")
    for name, text in modules.items():
        (path / f"{name}.py").write_text(text, "utf-8")
    monkeypatch.syspath_prepend(str(folder))
    for name in (package, *(f"{package}.{module}" for module in modules)):
        monkeypatch.delitem(sys.modules, name, raising=False)
    discovery.load_plugins([package])
    return path
