"""The raw tables as assets: ranges of days, missing tables, and the check of row counts."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from batch_predictions.core.home import write_state
from batch_predictions.sources.assets import CHECK
from batch_predictions.tables import INTERACTIONS, REVIEWS
from batch_predictions_tests.worlds.home import raw_asset
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder

RAW_ASSETS = [
    raw_asset("interactions"),
    raw_asset("users"),
    raw_asset("items"),
    raw_asset("reviews"),
    raw_asset("promotions"),
    raw_asset("campaign_events"),
]


def materialize(shop: SourceFolder, first: str, last: str) -> dg.ExecuteInProcessResult:
    """Materializes all raw assets over a range of days in one run."""
    write_state(shop.settings.home, shop.state)
    job = dg.Definitions(
        assets=RAW_ASSETS,
        jobs=[dg.define_asset_job("ingest", selection="*")],
        resources={"warehouse": shop.warehouse, "settings": shop.settings},
    ).resolve_job_def("ingest")
    return job.execute_in_process(
        tags={
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
    )


def test_a_range_of_days_is_materialized_in_one_run(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    shop.write("interactions.csv", HEADER + "u,i,2024-01-02,1\nu,i,2024-01-03,x\n")
    shop.write("users.csv", "user_id,age\nu,30\nu,31\n")
    result = materialize(shop, "2024-01-01", "2024-01-05")
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    checks = {c.asset_key.path[-1]: c for c in evaluations if c.check_name == CHECK}
    assert all(c.passed for c in evaluations)
    assert set(checks) == {asset.key.path[-1] for asset in RAW_ASSETS}
    assert all(check.passed for check in checks.values())
    metadata = {name: value.value for name, value in checks["interactions"].metadata.items()}
    assert [metadata[name] for name in ("days", "read", "accepted", "quarantined")] == [5, 2, 1, 1]
    columns = {
        event.partition: str(event.materialization.metadata["source_columns"].value)
        for event in result.get_asset_materialization_events()
        if "source_columns" in event.materialization.metadata
        and event.asset_key == dg.AssetKey(["raw", "interactions"])
    }
    assert list(columns) == ["2024-01-05"]
    assert "| amount | amount |" in columns["2024-01-05"]
    assert len(shop.warehouse.partitions(INTERACTIONS)) == 5
    assert len(shop.warehouse.partitions(REVIEWS)) == 5
    assert len(shop.rows("from raw.quarantine")) == 2


def test_a_day_that_is_kept_says_so(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    rows = "".join(f"u{n},i,2024-01-0{day},1\n" for day in (2, 3) for n in range(30))
    shop.write("interactions.csv", HEADER + rows)
    materialize(shop, "2024-01-01", "2024-01-03")
    shop.write("interactions.csv", HEADER + rows[: len(rows) // 2])
    result = materialize(shop, "2024-01-01", "2024-01-03")
    assert all(check.passed for check in result.get_asset_check_evaluations())
    kept = {
        event.partition: event.materialization.metadata["rows_kept"].value
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["raw", "interactions"])
    }
    assert kept == {"2024-01-01": 0, "2024-01-02": 0, "2024-01-03": 30}
    assert len(shop.rows("from raw.interactions")) == 60


def test_a_snapshot_of_an_older_day_is_not_written(tmp_path: Path) -> None:
    shop = (
        SourceFolder(tmp_path).write("interactions.csv", HEADER).write("users.csv", "user_id\na\n")
    )
    assert materialize(shop, "2024-01-04", "2024-01-04").success
    shop.write("users.csv", "user_id\na\nb\n")
    assert materialize(shop, "2024-01-02", "2024-01-02").success
    assert len(shop.rows("from raw.users")) == 1


@pytest.mark.parametrize("asset", RAW_ASSETS, ids=lambda asset: asset.key.path[-1])
def test_assets_are_described(asset: dg.AssetsDefinition) -> None:
    [spec] = list(asset.specs)
    assert spec.group_name == "sources"
    assert spec.owners == ["team:data"]
    assert spec.key.path[0] == "raw"
    assert "One row per" in (spec.description or "")
    assert isinstance(spec.partitions_def, dg.DailyPartitionsDefinition)
    assert spec.partitions_def.start.date() == dt.date(2024, 1, 1)
