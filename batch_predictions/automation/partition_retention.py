"""Removes partitions of features and predictions that are older than the settings keep."""

from __future__ import annotations

import datetime as dt

from batch_predictions.settings import Settings
from batch_predictions.tables import HISTOGRAMS, ITEM_SCORES, TABLES, Table
from batch_predictions.warehouse import Warehouse, as_date

MIN_AGE_SECONDS = 7 * 86_400
"""A partition that was written since may be of a backfill, and wanted."""


def kept_days(table: Table, settings: Settings) -> int | None:
    """Days of a table that are kept, counted back from its newest; None: all."""
    retention = settings.retention
    if table == ITEM_SCORES:
        return retention.score_days
    if table.schema == "features" or table == HISTOGRAMS:
        return retention.feature_days
    if table.schema == "predictions":
        return retention.prediction_days
    # Raw rows are what everything is made again from, and metrics are few.
    return None


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
    for table in TABLES.values():
        days, keys = kept_days(table, settings), warehouse.partitions(table)
        if days is None or not keys or table.partition is None:
            continue
        oldest = as_date(keys[-1]) - dt.timedelta(days=days - 1)
        for key in (key for key in keys if as_date(key) < oldest):
            folder = warehouse.folder / table.schema / table.name / f"{table.partition}={key}"
            if now - max(path.stat().st_mtime for path in (folder, *folder.rglob("*"))) < (
                MIN_AGE_SECONDS
            ):
                continue
            warehouse.drop_partition(table, key)
            removed += 1
    return removed
