"""Old partitions of features and predictions are removed by setting; raw rows and metrics stay."""

from __future__ import annotations

import datetime as dt
import os
import time

from batch_predictions.automation.partition_retention import (
    MIN_AGE_SECONDS,
    kept_days,
    remove_old_partitions_of_tables,
)
from batch_predictions.settings import RetentionSettings, Settings
from batch_predictions.tables import CHURN_SCORES, ITEM_SCORES, TABLES, USER_SEGMENTS, Table
from batch_predictions.warehouse import Warehouse

NEWEST = dt.date(2025, 6, 1)


def write(warehouse: Warehouse, table: Table, ages: tuple[int, ...]) -> None:
    """Partitions that are so many days older than NEWEST, written a month ago."""
    written = time.time() - 30 * 86_400
    for age in ages:
        folder = warehouse.folder / table.schema / table.name
        partition = folder / f"date={NEWEST - dt.timedelta(days=age)}"
        partition.mkdir(parents=True)
        (partition / "data.parquet").write_bytes(b"")
        for path in (partition / "data.parquet", partition):
            os.utime(path, (written, written))


def ages(warehouse: Warehouse, table: Table) -> list[int]:
    return [(NEWEST - dt.date.fromisoformat(key)).days for key in warehouse.partitions(table)]


def test_each_schema_has_its_days(warehouse: Warehouse, settings: Settings) -> None:
    settings.retention = RetentionSettings(feature_days=60, score_days=7, prediction_days=120)
    write(warehouse, USER_SEGMENTS, (60, 59, 0))
    write(warehouse, ITEM_SCORES, (7, 6, 0))
    write(warehouse, CHURN_SCORES, (120, 119, 0))
    raw = TABLES["raw.interactions"]
    write(warehouse, raw, (2_000, 0))
    assert remove_old_partitions_of_tables(warehouse, settings, time.time()) == 3
    assert ages(warehouse, USER_SEGMENTS) == [59, 0]
    assert ages(warehouse, ITEM_SCORES) == [6, 0]
    assert ages(warehouse, CHURN_SCORES) == [119, 0]
    assert ages(warehouse, raw) == [2_000, 0]


def test_predictions_are_kept_unless_a_setting_says_otherwise(
    warehouse: Warehouse, settings: Settings
) -> None:
    write(warehouse, CHURN_SCORES, (3_000, 0))
    assert kept_days(CHURN_SCORES, settings) is None
    assert remove_old_partitions_of_tables(warehouse, settings, time.time()) == 0


def test_what_a_backfill_has_just_made_stays(warehouse: Warehouse, settings: Settings) -> None:
    write(warehouse, ITEM_SCORES, (300, 0))
    month_ago = time.time() - 30 * 86_400
    just_before = month_ago + MIN_AGE_SECONDS - 60
    assert remove_old_partitions_of_tables(warehouse, settings, just_before) == 0
    assert remove_old_partitions_of_tables(warehouse, settings, just_before + 120) == 1
