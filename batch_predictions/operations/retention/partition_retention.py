"""Removes partitions of features, predictions and metrics that are older than the settings keep.

What Dagster has recorded of them goes with them.
"""

from __future__ import annotations

import datetime as dt

from batch_predictions.features.tiles.base import TILES
from batch_predictions.features.tiles.building import KEEP_DAYS as TILE_DAYS
from batch_predictions.operations.records import RunRecords
from batch_predictions.settings import Settings
from batch_predictions.tables import HISTOGRAMS, ITEM_SCORES, SEQUENCE_STATES, TABLES, Table
from batch_predictions.warehouse import Warehouse, as_date

MIN_AGE_SECONDS = 7 * 86_400
"""A partition that was written since may be of a backfill, and wanted."""
STATE_DAYS = 2
"""States of users are read on the day after theirs, and made anew where they are missing."""


def kept_days(table: Table, settings: Settings) -> int | None:
    """Number of days of a table that are kept, counted back from its newest; None: all."""
    retention = settings.retention
    if table == ITEM_SCORES:
        return retention.score_days
    if table == SEQUENCE_STATES:
        return STATE_DAYS
    if table.schema == "features" or table == HISTOGRAMS:
        return retention.feature_days
    if table.schema == "predictions":
        return retention.prediction_days
    if table.schema == "evaluation":
        return retention.metric_days
    return None  # raw rows are what everything is made again from


def remove_old_partitions_of_tables(warehouse: Warehouse, settings: Settings, now: float) -> int:
    """Removes old partitions, each with all its parts.

    Args:
        warehouse: of the home.
        settings: how many days are kept.
        now: seconds since the epoch.

    Returns:
        The number of partitions removed.
    """
    removed = 0
    for table, oldest in _oldest_days(warehouse, settings).items():
        min_age = 0 if table == SEQUENCE_STATES else MIN_AGE_SECONDS
        for key in warehouse.partitions(table):
            if as_date(key) >= oldest:
                break
            folder = warehouse.folder / table.schema / table.name / f"{table.partition}={key}"
            if now - max(path.stat().st_mtime for path in (folder, *folder.rglob("*"))) < min_age:
                continue
            warehouse.drop_partition(table, key)
            removed += 1
    return removed


def remove_records_of_removed_partitions(
    warehouse: Warehouse, settings: Settings, records: RunRecords
) -> int:
    """Removes Dagster's records of old partitions that the warehouse no longer has.

    Dagster would show them as materialized, and its storage would grow by 3 KB for each.

    Args:
        warehouse: of the home.
        settings: how many days are kept.
        records: Dagster's, of the home.

    Returns:
        The number of partitions whose records were removed.
    """
    removed = 0
    for table, oldest in (_oldest_days(warehouse, settings) | _oldest_tiles(warehouse)).items():
        recorded = records.partitions(table) - {*warehouse.partitions(table)}
        gone = sorted(key for key in recorded if as_date(key) < oldest)
        if gone:
            records.remove_partitions(table, gone)
        removed += len(gone)
    return removed


def _oldest_days(warehouse: Warehouse, settings: Settings) -> dict[Table, dt.date]:
    """The oldest day to keep of each table whose retention is limited."""
    oldest = {}
    for table in TABLES.values():
        days = kept_days(table, settings)
        if days is None or table.partition is None:
            continue
        if keys := warehouse.partitions(table):
            oldest[table] = as_date(keys[-1]) - dt.timedelta(days=days - 1)
    return oldest


def _oldest_tiles(warehouse: Warehouse) -> dict[Table, dt.date]:
    """The oldest day of which every tile is kept."""
    newest = {tile.table: warehouse.partitions(tile.table)[-1:] for tile in TILES.values()}
    return {
        table: as_date(key) - dt.timedelta(days=TILE_DAYS)
        for table, keys in newest.items()
        for key in keys
    }
