"""Finds stale partitions: computed from rows that have been corrected since.

Of a corrected raw table these are the partitions of all assets downstream in the graph, from the
oldest corrected day on, unless the run has computed them again. Snapshots (users, items) are not
followed: `features` keeps their state of each day. Tiles are not listed: one that was made from
other rows is never read, and is made again by the next run that needs it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TypeAlias

import dagster as dg

from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import trainings
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    FEEDBACK,
    INTERACTIONS,
    INVENTORY,
    PROMOTION_CALENDAR,
    REVIEWS,
    TABLES,
    Table,
)
from batch_predictions.tables.partitions import (
    days_between,
    latest_ended_week,
    trained_through,
    weeks_ahead,
)
from batch_predictions.warehouse import Warehouse, as_date

# Without campaign_events: exports add events to a day after its predictions.
FOLLOWED_TABLES = (INTERACTIONS, REVIEWS, INVENTORY, PROMOTION_CALENDAR, FEEDBACK)
PartitionTimes: TypeAlias = Mapping[tuple[str, str], int]
"""Modification time of the partition's file in ns, by table name and partition key."""


def partition_times(warehouse: Warehouse) -> PartitionTimes:
    """Modification times of the raw partitions; an ingest of equal rows does not change them."""
    return {
        (table.name, key): warehouse.path(table, key).stat().st_mtime_ns
        for table in FOLLOWED_TABLES
        for key in warehouse.partitions(table)
    }


def oldest_corrections(before: PartitionTimes, after: PartitionTimes) -> dict[str, dt.date]:
    """Finds the oldest corrected partition of each table, by its modification time."""
    oldest: dict[str, dt.date] = {}
    for name, key in sorted(after):
        if before.get((name, key), after[name, key]) != after[name, key]:
            oldest.setdefault(name, as_date(key))
    return oldest


def find_stale(
    graph: dg.AssetGraph,
    warehouse: Warehouse,
    models: ModelStore,
    corrections: Mapping[str, dt.date],
    first: dt.date,
    last: dt.date,
    settings: Settings,
) -> dict[str, list[str]]:
    """Stale partitions by table, and training days by model, that the run has not computed again.

    Args:
        graph: the platform's assets.
        warehouse: with the partitions.
        models: with the trainings.
        corrections: by raw table, the oldest partition that changed.
        first: first day that the run predicted.
        last: last day that the run predicted.
        settings: how far predictions look ahead.
    """
    days = days_between(first, last)
    weeks = {latest_ended_week(as_date(day)) for day in days}
    recomputed = {"date": {*days}, "week": {str(week) for week in weeks}}
    stale_since = _stale_since(graph, corrections, weeks_ahead(settings) - 1)
    stale: dict[str, list[str]] = {}
    for table in TABLES.values():
        begin = stale_since.get(dg.AssetKey([table.schema, table.name]))
        if begin is None or table.parts or not table.partition or table.schema == "tiles":
            continue
        first_key = str(table.partition_of(begin))
        keys = [
            key
            for key in warehouse.partitions(table)
            if key >= first_key and key not in recomputed[table.partition]
        ]
        if keys:
            stale[table.qualified] = keys
    trained_by_run = {str(trained_through(week)) for week in weeks}
    for name in trainings():
        begin = stale_since.get(dg.AssetKey(["models", name]))
        if begin is None:
            continue
        trained = sorted({str(decision.effective_from) for decision in models.decisions(name)})
        keys = [day for day in trained if day >= str(begin) and day not in trained_by_run]
        if keys:
            stale[f"models/{name}"] = keys
    return stale


def _stale_since(
    graph: dg.AssetGraph, corrections: Mapping[str, dt.date], weeks_ahead: int
) -> dict[dg.AssetKey, dt.date]:
    """The first day of each asset that a correction upstream may have changed."""
    since: dict[dg.AssetKey, dt.date] = {}
    for name, day in corrections.items():
        table: Table = TABLES[f"raw.{name}"]
        if table.partition == "week":
            # Days before the week have read it ahead.
            day = day - dt.timedelta(days=7 * weeks_ahead)
        root = dg.AssetSelection.assets([table.schema, table.name])
        for key in root.downstream(include_self=False).resolve(graph):
            since[key] = min(day, since.get(key, day))
    return since
