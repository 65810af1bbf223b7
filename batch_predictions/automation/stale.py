"""What was made from rows that have been corrected since, and was not made again.

Lineage says it: of a corrected table, what lies downstream in the asset graph, from the oldest
corrected day on. Snapshots (users, items) are not followed: what was known on a day is frozen in
`features`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import dagster as dg

from batch_predictions.model_store import ModelStore
from batch_predictions.models.training import trainings
from batch_predictions.partitions import (
    days_between,
    latest_ended_week,
    trained_through,
    weeks_ahead,
)
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    INTERACTIONS,
    INVENTORY,
    PROMOTION_CALENDAR,
    REVIEWS,
    TABLES,
    Table,
)
from batch_predictions.warehouse import Warehouse, as_date

# Not campaign_events: lists that were exported are added to a day after it was read.
FOLLOWED = (INTERACTIONS, REVIEWS, INVENTORY, PROMOTION_CALENDAR)
Times = dict[tuple[str, str], int]


def times(warehouse: Warehouse) -> Times:
    """When each raw partition last changed; an ingest that finds equal rows changes nothing."""
    return {
        (table.name, key): warehouse.path(table, key).stat().st_mtime_ns
        for table in FOLLOWED
        for key in warehouse.partitions(table)
    }


def corrected(before: Times, after: Times) -> dict[str, dt.date]:
    """For each table with partitions that were there and have changed: the oldest of them."""
    oldest: dict[str, dt.date] = {}
    for name, key in sorted(after):
        if before.get((name, key), after[name, key]) != after[name, key]:
            oldest.setdefault(name, as_date(key))
    return oldest


def stale(
    graph: dg.AssetGraph,
    warehouse: Warehouse,
    models: ModelStore,
    oldest: Mapping[str, dt.date],
    first: dt.date,
    last: dt.date,
    settings: Settings,
) -> dict[str, list[str]]:
    """Partitions by table, and training days by model, that a run of these days left behind.

    Args:
        graph: the platform's assets.
        oldest: of each corrected raw table, the oldest partition that changed.
        first: first day that the run predicted.
        last: last day that the run predicted.
        settings: say how far predictions look ahead.
    """
    days = days_between(first, last)
    weeks = {latest_ended_week(as_date(day)) for day in days}
    made = {"date": {*days}, "week": {str(week) for week in weeks}}
    since = _since(graph, oldest, weeks_ahead(settings) - 1)
    left: dict[str, list[str]] = {}
    for table in TABLES.values():
        begin = since.get(dg.AssetKey([table.schema, table.name]))
        if begin is None or table.parts or not table.partition:
            continue
        first_key = str(table.partition_of(begin))
        keys = [
            key
            for key in warehouse.partitions(table)
            if key >= first_key and key not in made[table.partition]
        ]
        if keys:
            left[table.qualified] = keys
    trained_now = {str(trained_through(week)) for week in weeks}
    for name in trainings():
        begin = since.get(dg.AssetKey(["models", name]))
        trained = sorted({str(each.effective_from) for each in models.decisions(name)})
        keys = [day for day in trained if begin and day >= str(begin) and day not in trained_now]
        if keys:
            left[f"models/{name}"] = keys
    return left


def _since(
    graph: dg.AssetGraph, oldest: Mapping[str, dt.date], ahead: int
) -> dict[dg.AssetKey, dt.date]:
    """From which day on an asset is in doubt: the oldest of what it stands on, `ahead` weeks before
    it where that is known ahead."""
    since: dict[dg.AssetKey, dt.date] = {}
    for name, day in oldest.items():
        table: Table = TABLES[f"raw.{name}"]
        if table.partition == "week":
            # Known ahead: days before it have looked forward to it.
            day = day - dt.timedelta(days=7 * ahead)
        root = dg.AssetSelection.assets([table.schema, table.name])
        for key in root.downstream(include_self=False).resolve(graph):
            since[key] = min(day, since.get(key, day))
    return since
