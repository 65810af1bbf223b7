"""What a correction leaves behind follows the lineage, and no further."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence

import dagster as dg
import pytest

from batch_predictions.models.model_store import ModelStore
from batch_predictions.orchestration.stale import find_stale, oldest_corrections, partition_times
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES
from batch_predictions.warehouse import Warehouse

DAYS = [f"2024-03-{day:02}" for day in range(10, 20)]
WEEKS = ["2024-03-04", "2024-03-11"]
DAILY = (
    "raw.interactions",
    "raw.reviews",
    "tiles.user_totals",
    "features.demand",
    "predictions.recommendations",
)
WEEKLY = ("raw.promotion_calendar", "predictions.review_sentiments")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> dg.AssetGraph:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCH_PREDICTIONS_SOURCE__KIND", "files")
        patch.setenv("BATCH_PREDICTIONS_SOURCE__PATH", str(tmp_path_factory.mktemp("source")))
        from batch_predictions.definitions import defs
    return defs.resolve_asset_graph()


@pytest.fixture
def written(warehouse: Warehouse) -> Warehouse:
    """A warehouse with some tables made, without rows."""
    for names, keys in ((DAILY, DAYS), (WEEKLY, WEEKS)):
        for name in names:
            make(warehouse, name, keys)
    return warehouse


def make(warehouse: Warehouse, name: str, keys: Sequence[str]) -> None:
    table = TABLES[name]
    nulls = ", ".join(f"null::{column.type} as {column.name}" for column in table.columns)
    warehouse.replace_partitions(table, keys, f"select {nulls} where false")


def left(
    graph: dg.AssetGraph, warehouse: Warehouse, settings: Settings, **oldest: str
) -> dict[str, list[str]]:
    since = {name: dt.date.fromisoformat(day) for name, day in oldest.items()}
    newest = dt.date(2024, 3, 19)
    return find_stale(graph, warehouse, ModelStore.of(settings), since, newest, newest, settings)


def test_corrected_reviews_make_only_sentiment_stale(
    graph: dg.AssetGraph, written: Warehouse, settings: Settings
) -> None:
    # A Wednesday's review belongs to the week that began before it. Tuesday the 19th stands on
    # the week of the 11th, which the run has made; the one before it, it has not.
    assert left(graph, written, settings, reviews="2024-03-06") == {
        "predictions.review_sentiments": ["2024-03-04"]
    }


def test_corrected_interactions_leave_later_days_behind_but_not_reviews(
    graph: dg.AssetGraph, written: Warehouse, settings: Settings
) -> None:
    assert left(graph, written, settings, interactions="2024-03-17") == {
        "features.demand": ["2024-03-17", "2024-03-18"],
        "predictions.recommendations": ["2024-03-17", "2024-03-18"],
    }


def test_a_corrected_week_of_promotions_reaches_the_days_that_looked_forward_to_it(
    graph: dg.AssetGraph, written: Warehouse, settings: Settings
) -> None:
    stale = left(graph, written, settings, promotion_calendar="2024-03-25")
    assert stale["predictions.recommendations"] == DAYS[1:-1]  # two weeks before, the newest made
    assert "predictions.review_sentiments" not in stale


def test_a_correction_is_a_change_of_an_existing_partition(written: Warehouse) -> None:
    times_before = partition_times(written)
    assert oldest_corrections(times_before, partition_times(written)) == {}
    for day in ("2024-03-12", "2024-03-15"):
        path = written.path(TABLES["raw.interactions"], day)
        os.utime(path, ns=(1, times_before["interactions", day] + 1))
    make(written, "raw.interactions", ["2024-03-20"])
    assert oldest_corrections(times_before, partition_times(written)) == {
        "interactions": dt.date(2024, 3, 12)
    }
