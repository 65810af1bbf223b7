"""What a user's own package imports stays as it is, and is all that docs and templates import."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest
from pydantic import BaseModel

import batch_predictions
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.programs import run_python

SNAPSHOT = ROOT / "batch_predictions_tests" / "public_interface.txt"
NAMES: list[str] = vars(batch_predictions)["__all__"]
TAUGHT = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "batch_predictions" / "cli" / "templates").glob("*.txt")),
]
DEEPER = re.compile(
    r"^\s*(?:from batch_predictions\.[\w.]+ import|import batch_predictions\.).*", re.M
)


def describe(name: str) -> str:
    """A public name with its signature, its fields and its public methods, one a line."""
    value: Any = getattr(batch_predictions, name)
    if inspect.isfunction(value):
        return f"{name}{inspect.signature(value)}"
    if not inspect.isclass(value):
        return name
    if issubclass(value, BaseModel):
        lines = [name, *(f"    .{field}" for field in value.model_fields)]
    elif dataclasses.is_dataclass(value):
        lines = [name, *(f"    .{field.name}: {field.type}" for field in dataclasses.fields(value))]
    else:
        lines = [name]
    for attribute in sorted(vars(value)):
        member = inspect.getattr_static(value, attribute)
        function = getattr(member, "__func__", member)
        if not attribute.startswith("_") and inspect.isfunction(function):
            lines.append(f"    {attribute}{inspect.signature(function)}")
        elif isinstance(member, property) and not attribute.startswith("_"):
            lines.append(f"    .{attribute}")
    return "\n".join(lines)


def test_names_and_signatures_are_those_that_were_published() -> None:
    described = "\n".join(describe(name) for name in sorted(NAMES)) + "\n"
    assert described == SNAPSHOT.read_text(encoding="utf-8"), (
        "the public interface has changed: if that is meant, write it down with "
        "`python -m batch_predictions_tests.test_public_interface`, and in "
        "docs/reference/public_interface.md"
    )


def test_every_name_is_explained_and_nothing_else() -> None:
    page = (ROOT / "docs" / "reference" / "public_interface.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    explained = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(explained) == sorted(NAMES)


@pytest.mark.parametrize("path", TAUGHT, ids=lambda path: path.name)
def test_nothing_deeper_is_taught(path: Any) -> None:
    assert DEEPER.findall(path.read_text(encoding="utf-8")) == []


def test_names_are_loaded_when_they_are_used() -> None:
    code = (
        "import sys; from batch_predictions import Lookup, Settings, SettingsError; "
        "print(*{'dagster', 'torch', 'pandas', 'lightgbm'} & set(sys.modules))"
    )
    assert run_python("-c", code).stdout.strip() == ""


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="recommendation_engine"):
        _ = batch_predictions.recommendation_engine  # type: ignore[attr-defined]


if __name__ == "__main__":
    SNAPSHOT.write_text(
        "\n".join(describe(name) for name in sorted(NAMES)) + "\n",
        encoding="utf-8",
    )
