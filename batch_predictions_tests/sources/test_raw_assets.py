"""The raw tables as assets: ranges, lacking tables, and a check that adds rows up."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from batch_predictions.home import write_state
from batch_predictions.tables import INTERACTIONS, REVIEWS
from batch_predictions_tests.worlds.home import raw_asset
from batch_predictions_tests.worlds.source_folders import HEADER, World

RAW_ASSETS = [
    raw_asset("interactions"),
    raw_asset("users"),
    raw_asset("items"),
    raw_asset("reviews"),
    raw_asset("promotions"),
    raw_asset("campaign_events"),
]


def materialize(world: World, first: str, last: str) -> dg.ExecuteInProcessResult:
    """Materializes all raw assets over a range of days in one run."""
    write_state(world.settings.home, world.state)
    job = dg.Definitions(
        assets=RAW_ASSETS,
        jobs=[dg.define_asset_job("ingest", selection="*")],
        resources={"warehouse": world.warehouse, "settings": world.settings},
    ).resolve_job_def("ingest")
    return job.execute_in_process(
        tags={
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
    )


def test_a_range_of_days_is_materialized_and_adds_up(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write("interactions.csv", HEADER + "u,i,2024-01-02,1\nu,i,2024-01-03,x\n")
    world.write("users.csv", "user_id,age\nu,30\nu,31\n")
    result = materialize(world, "2024-01-01", "2024-01-05")
    assert result.success
    checks = {each.asset_key.path[-1]: each for each in result.get_asset_check_evaluations()}
    assert set(checks) == {asset.key.path[-1] for asset in RAW_ASSETS}
    assert all(each.passed for each in checks.values())
    figures = {name: value.value for name, value in checks["interactions"].metadata.items()}
    assert [figures[name] for name in ("days", "read", "accepted", "quarantined")] == [5, 2, 1, 1]
    assert len(world.warehouse.partitions(INTERACTIONS)) == 5
    assert len(world.warehouse.partitions(REVIEWS)) == 5
    assert len(world.rows("from raw.quarantine")) == 2


def test_a_second_snapshot_of_an_older_day_stays_out(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER).write("users.csv", "user_id\na\n")
    assert materialize(world, "2024-01-04", "2024-01-04").success
    world.write("users.csv", "user_id\na\nb\n")
    assert materialize(world, "2024-01-02", "2024-01-02").success
    assert len(world.rows("from raw.users")) == 1


@pytest.mark.parametrize("asset", RAW_ASSETS, ids=lambda asset: asset.key.path[-1])
def test_assets_are_described(asset: dg.AssetsDefinition) -> None:
    [spec] = list(asset.specs)
    assert spec.group_name == "sources"
    assert spec.owners == ["team:data"]
    assert spec.key.path[0] == "raw"
    assert "One row per" in (spec.description or "")
    assert isinstance(spec.partitions_def, dg.DailyPartitionsDefinition)
    assert spec.partitions_def.start.date() == dt.date(2024, 1, 1)
