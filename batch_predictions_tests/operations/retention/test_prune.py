"""What is kept of Dagster's runs, and what is removed."""

from __future__ import annotations

import datetime as dt
import itertools
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from batch_predictions.orchestration.dagster_internals.run_retention import remove_old_runs
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.dagster_internals import needs_internals
from batch_predictions_tests.worlds.home import PARTITIONS
from batch_predictions_tests.worlds.recorded_assets import DAYS, RecordedAssets, home_dagster
from batch_predictions_tests.worlds.retail_fixtures import environment, run_json

BOUGHT = dg.AssetKey("bought")


@pytest.fixture
def shop(
    settings: Settings, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RecordedAssets]:
    with home_dagster(settings, monkeypatch) as instance:
        yield RecordedAssets(instance, warehouse)


def in_days(number: int) -> float:
    """A time a number of days and a minute after the runs of a test, in seconds."""
    return time.time() + number * 86_400 + 60


def newest_metadata(shop: RecordedAssets, day: str) -> dict[str, object]:
    """Metadata of the newest materialization of a day."""
    records = shop.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=BOUGHT, asset_partitions=[day]), limit=1
    ).records
    assert records[0].asset_materialization
    return {name: value.value for name, value in records[0].asset_materialization.metadata.items()}


def databases(settings: Settings) -> set[str]:
    """Ids of the runs whose events are stored."""
    folder = settings.home / "dagster" / "history" / "runs"
    return {path.stem for path in folder.glob("*.db")} - {"index"}


@needs_internals
def test_old_runs_are_removed_and_their_partitions_stay_materialized(
    shop: RecordedAssets, settings: Settings
) -> None:
    shop.run(*DAYS)
    shown = {"plot", "preview", "computed_from", "dagster/column_lineage"}
    assert shown <= {*newest_metadata(shop, DAYS[2])}
    [run] = shop.instance.get_runs()
    logs = settings.home / "dagster" / "storage" / run.run_id
    assert logs.is_dir() and databases(settings) == {run.run_id}

    assert remove_old_runs(shop.instance, 30, in_days(29)) == 0
    assert databases(settings) == {run.run_id} and shop.instance.has_run(run.run_id)
    assert remove_old_runs(shop.instance, 30, in_days(30)) == 1

    assert shop.instance.get_runs() == [] and databases(settings) == set() and not logs.exists()
    assert shop.instance.get_materialized_partitions(BOUGHT) == set(DAYS)
    assert shop.recorded() == [(day, 1) for day in DAYS]
    metadata = newest_metadata(shop, DAYS[2])
    assert metadata["dagster/partition_row_count"] == 1
    assert not shown & {*metadata}
    # Equal rows are still recognised as recorded, and new ones are recorded.
    shop.run(*DAYS)
    assert len(shop.recorded()) == len(DAYS)
    shop.rows[DAYS[0]] = 2
    shop.run(DAYS[0])
    assert shop.recorded()[-1] == (DAYS[0], 2)


def test_dagster_shows_partitions_and_checks_as_before(
    shop: RecordedAssets, warehouse: Warehouse
) -> None:
    check = dg.AssetCheckSpec("adds_up", asset="checked")

    @dg.asset(
        partitions_def=PARTITIONS.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[check],
    )
    def checked() -> dg.MaterializeResult:
        return dg.MaterializeResult(
            check_results=[dg.AssetCheckResult(check_name="adds_up", passed=True)]
        )

    for day in DAYS:
        assert dg.materialize([checked], instance=shop.instance, partition_key=day).success
    events = shop.instance.event_log_storage

    def shown() -> tuple[list[str], list[str], list[str], object]:
        """Materialized, failed and running partitions, and the newest result of the check."""
        events.wipe_asset_cached_status(checked.key)
        value = get_and_update_asset_status_cache_value(
            shop.instance, checked.key, PARTITIONS.daily, shop.instance
        )
        assert value is not None
        subsets = (
            value.deserialize_materialized_partition_subsets(PARTITIONS.daily),
            value.deserialize_failed_partition_subsets(PARTITIONS.daily),
            value.deserialize_in_progress_partition_subsets(PARTITIONS.daily),
        )
        record = events.get_latest_asset_check_execution_by_key([check.key])[check.key]
        materialized, failed, running = (list(s.get_partition_keys()) for s in subsets)
        return materialized, failed, running, record.status

    before = shown()
    assert before[:3] == (list(DAYS), [], [])
    assert remove_old_runs(shop.instance, 1, in_days(1)) == len(DAYS)
    assert shown() == before


def test_a_materialization_that_a_newer_one_replaced_is_removed_with_its_run(
    shop: RecordedAssets,
) -> None:
    shop.run(DAYS[0])
    shop.rows[DAYS[0]] = 2
    shop.run(DAYS[0])
    shop.rows[DAYS[1]] = 3
    shop.run(DAYS[1])
    assert remove_old_runs(shop.instance, 1, in_days(1)) == 3
    assert shop.recorded() == [(DAYS[0], 2), (DAYS[1], 3)]


def test_a_run_that_has_not_ended_stays(shop: RecordedAssets) -> None:
    shop.run(DAYS[0])
    run = shop.instance.get_runs()[0]
    shop.instance.run_storage.add_run(
        run.with_status(dg.DagsterRunStatus.STARTED)._replace(run_id=dg_run_id())
    )
    assert remove_old_runs(shop.instance, 1, in_days(9)) == 1
    assert [run.status for run in shop.instance.get_runs()] == [dg.DagsterRunStatus.STARTED]


def dg_run_id() -> str:
    """The id of a run that is not there."""
    return "11111111-1111-4111-8111-111111111111"


@pytest.mark.slow
def test_nights_add_equal_numbers_of_events_and_files(
    shop: RecordedAssets, settings: Settings
) -> None:
    """Nights 3 and 6: each has one new day, and the days before are written again."""
    sizes = []
    for night in range(7):
        days = [(dt.date(2024, 1, 1) + dt.timedelta(days=n)).isoformat() for n in range(night + 1)]
        shop.rows |= {day: shop.rows.get(day, 1) for day in days}
        shop.run(*days)
        files = {path for path in (settings.home / "dagster").rglob("*") if path.is_file()}
        events = dict.fromkeys(("bought", "shelved"), 0)
        for kind in events:
            events[kind] = len(shop.recorded(kind))
        sizes.append((len(files), *events.values()))
    added = [
        tuple(new - old for new, old in zip(after, before, strict=True))
        for before, after in itertools.pairwise(sizes)
    ]
    # By night: an event for each asset, whose partitions before have not changed.
    assert added[2] == added[5] and added[2][1:] == (1, 1)
    assert remove_old_runs(shop.instance, 30, in_days(30)) == 7
    assert len(shop.recorded()) == 7 and databases(settings) == set()


@pytest.mark.slow
def test_the_command_removes_old_runs(
    shop: RecordedAssets, settings: Settings, tmp_path: Path
) -> None:
    shop.run(*DAYS)
    with closing(sqlite3.connect(settings.home / "dagster" / "history" / "runs.db")) as db, db:
        db.execute("update runs set create_timestamp = datetime(create_timestamp, '-9 days')")
    env = environment(settings.home, tmp_path, BATCH_PREDICTIONS_RETENTION__RUN_DAYS="10")
    nothing = {
        "runs": 0,
        "model_versions": [],
        "inference_partitions": 0,
        "tiles": 0,
        "table_partitions": 0,
        "posted_rows": 0,
        "queries": [],
    }
    assert run_json("prune", env=env, cwd=tmp_path) == nothing
    env["BATCH_PREDICTIONS_RETENTION__RUN_DAYS"] = "8"
    assert run_json("prune", env=env, cwd=tmp_path) == nothing | {"runs": 1}
    assert databases(settings) == set()


@pytest.mark.slow
def test_a_process_that_ends_leaves_no_write_ahead_log(
    shop: RecordedAssets, settings: Settings, tmp_path: Path
) -> None:
    shop.run(*DAYS)
    events = shop.instance.event_log_storage
    events.dispose()
    code = """if True:
        import ctypes
        import dagster as dg
        instance = dg.DagsterInstance.get()
        [run] = instance.get_runs()
        instance.report_engine_event("hello", run)
        assert list(folder.glob("*-wal"))
        # Never collected, as if a thread held it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(instance.event_log_storage))
    """
    folder = settings.home / "dagster" / "history" / "runs"
    prefix = f"from pathlib import Path; folder = Path({str(folder)!r})\n"
    env = environment(settings.home, tmp_path) | {"DAGSTER_HOME": str(settings.home / "dagster")}
    subprocess.run([sys.executable, "-c", prefix + code], env=env, cwd=tmp_path, check=True)
    assert not list(folder.glob("*-wal"))
