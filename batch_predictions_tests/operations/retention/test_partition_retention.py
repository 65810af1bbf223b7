"""Old partitions of features, predictions and metrics are removed by setting; raw rows stay."""

from __future__ import annotations

import datetime as dt
import os
import time

import dagster as dg
import pytest

from batch_predictions.operations.retention.partition_retention import (
    MIN_AGE_SECONDS,
    kept_days,
    remove_old_partitions_of_tables,
    remove_records_of_removed_partitions,
)
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.settings import RetentionSettings, Settings
from batch_predictions.tables import (
    CHURN_SCORES,
    HISTOGRAMS,
    ITEM_SCORES,
    REALIZED_METRICS,
    SEQUENCE_STATES,
    TABLES,
    USER_SEGMENTS,
    Table,
)
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.dagster_internals import needs_internals
from batch_predictions_tests.worlds.recorded_assets import home_dagster

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
    settings.retention = RetentionSettings(
        feature_days=60, score_days=7, prediction_days=120, metric_days=90
    )
    write(warehouse, USER_SEGMENTS, (60, 59, 0))
    write(warehouse, ITEM_SCORES, (7, 6, 0))
    write(warehouse, CHURN_SCORES, (120, 119, 0))
    write(warehouse, REALIZED_METRICS, (90, 89, 0))
    write(warehouse, HISTOGRAMS, (60, 59, 0))
    write(warehouse, SEQUENCE_STATES, (2, 1, 0))
    raw = TABLES["raw.interactions"]
    write(warehouse, raw, (2_000, 0))
    assert remove_old_partitions_of_tables(warehouse, settings, time.time()) == 6
    assert ages(warehouse, USER_SEGMENTS) == [59, 0]
    assert ages(warehouse, ITEM_SCORES) == [6, 0]
    assert ages(warehouse, CHURN_SCORES) == [119, 0]
    assert ages(warehouse, REALIZED_METRICS) == [89, 0]
    assert ages(warehouse, HISTOGRAMS) == [59, 0]
    assert ages(warehouse, SEQUENCE_STATES) == [1, 0]
    assert ages(warehouse, raw) == [2_000, 0]


def test_predictions_are_kept_unless_a_setting_says_otherwise(
    warehouse: Warehouse, settings: Settings
) -> None:
    write(warehouse, CHURN_SCORES, (3_000, 0))
    assert kept_days(CHURN_SCORES, settings) is None
    assert remove_old_partitions_of_tables(warehouse, settings, time.time()) == 0


def test_what_a_backfill_has_just_made_stays(warehouse: Warehouse, settings: Settings) -> None:
    write(warehouse, ITEM_SCORES, (300, 0))
    write(warehouse, SEQUENCE_STATES, (2, 1))
    month_ago = time.time() - 30 * 86_400
    just_before = month_ago + MIN_AGE_SECONDS - 60
    assert remove_old_partitions_of_tables(warehouse, settings, just_before) == 0
    write(warehouse, SEQUENCE_STATES, (0,))
    # They only save work.
    assert remove_old_partitions_of_tables(warehouse, settings, just_before) == 1
    assert remove_old_partitions_of_tables(warehouse, settings, just_before + 120) == 1


@needs_internals
def test_dagster_forgets_removed_partitions_alone(
    warehouse: Warehouse, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a table that keeps all, and gaps within the days that are kept, stay as they are."""
    settings.retention = RetentionSettings(feature_days=60)
    recorded_ages = (500, 61, 60, 59, 30, 0)
    write(warehouse, USER_SEGMENTS, (60, 59, 0))
    write(warehouse, CHURN_SCORES, (0,))
    with home_dagster(settings, monkeypatch) as instance:
        for table in (USER_SEGMENTS, CHURN_SCORES):
            asset = dg.AssetKey([table.schema, table.name])
            for age in recorded_ages:
                day = f"{NEWEST - dt.timedelta(days=age)}"
                instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=day))

        def recorded(table: Table) -> list[int]:
            asset = dg.AssetKey([table.schema, table.name])
            keys = instance.get_materialized_partitions(asset)
            return sorted(
                ((NEWEST - dt.date.fromisoformat(key)).days for key in keys), reverse=True
            )

        assert (
            remove_records_of_removed_partitions(
                warehouse, settings, DagsterRecords(settings, instance)
            )
            == 2
        )
        assert recorded(USER_SEGMENTS) == [60, 59, 30, 0]
        assert recorded(CHURN_SCORES) == [*recorded_ages]
        assert (
            remove_records_of_removed_partitions(
                warehouse, settings, DagsterRecords(settings, instance)
            )
            == 0
        )
        assert remove_old_partitions_of_tables(warehouse, settings, time.time()) == 1
        assert (
            remove_records_of_removed_partitions(
                warehouse, settings, DagsterRecords(settings, instance)
            )
            == 1
        )
        assert recorded(USER_SEGMENTS) == [59, 30, 0]
