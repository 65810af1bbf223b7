"""`batch-predictions first-day`: shows and moves the home's first day."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from batch_predictions.cli.command_line import make_app
from batch_predictions.core.home import read_state
from batch_predictions.sources.home_state import initialise_home
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder, day_keys


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SourceFolder:
    """Three ingested days."""
    shop = SourceFolder(tmp_path)
    shop.write("interactions.csv", HEADER + "".join(f"u,i,{day},1\n" for day in day_keys(3)))
    initialise_home(shop.settings, dt.date(2024, 1, 10))
    shop.ingest(days=day_keys(3))
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__KIND", "files")
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__PATH", str(shop.folder))
    return shop


def first_day(shop: SourceFolder, *words: str, **options: Any) -> Any:
    home = str(shop.settings.home)
    return CliRunner().invoke(make_app(), ["first-day", *words, "--home", home], **options)


def test_it_is_shown(shop: SourceFolder) -> None:
    assert first_day(shop).output == "2024-01-01\n"
    assert json.loads(first_day(shop, "--json").output) == {"first_day": "2024-01-01"}


def test_it_is_moved_after_a_question(shop: SourceFolder) -> None:
    refused = first_day(shop, "2024-01-03", input="n\n")
    assert refused.exit_code == 1
    assert "2 partitions of 1 tables before 2024-01-03 will be removed" in refused.output
    assert first_day(shop).output == "2024-01-01\n"
    moved = first_day(shop, "2024-01-03", input="y\n")
    assert "The first day is 2024-01-03, before 2024-01-01; 2 partitions" in moved.output
    state = read_state(shop.settings.home)
    assert state is not None
    assert state.first_day == dt.date(2024, 1, 3)


def test_nothing_is_asked_if_nothing_is_removed(shop: SourceFolder) -> None:
    moved = first_day(shop, "2023-12-01", "--json")
    assert json.loads(moved.output) == {
        "before": "2024-01-01",
        "first_day": "2023-12-01",
        "removed": {},
    }
