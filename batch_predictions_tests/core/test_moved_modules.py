"""Imports that earlier versions taught."""

from __future__ import annotations

import importlib
import sys

import pytest

from batch_predictions.core.moved_modules import MOVED

TAUGHT = [name for name in MOVED if not name.startswith("automation")]


@pytest.mark.parametrize("name", TAUGHT)
def test_an_import_of_an_earlier_version_works_with_a_warning(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"batch_predictions.{name}", raising=False)
    with pytest.warns(FutureWarning, match="public_interface"):
        old = importlib.import_module(f"batch_predictions.{name}")
    assert old is importlib.import_module(f"batch_predictions.{MOVED[name]}")


def test_dagster_yaml_of_an_earlier_version_is_read_without_a_warning(
    recwarn: pytest.WarningsRecorder,
) -> None:
    module = importlib.import_module("batch_predictions.automation.event_log")
    assert module.HomeEventLogStorage
    assert not [warning for warning in recwarn if warning.category is FutureWarning]


def test_a_name_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("batch_predictions.cli.commands_of_old")
