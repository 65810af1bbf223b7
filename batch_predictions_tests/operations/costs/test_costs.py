"""What steps use is measured in the process that runs them, and summed by asset, date and run."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from batch_predictions.cli.command_line import make_app
from batch_predictions.core import process_records
from batch_predictions.core.home_bucket import CACHE_VARIABLE, bucket_of, working_folder
from batch_predictions.core.home_lock import processes_folder
from batch_predictions.operations.costs.collect import collect_costs
from batch_predictions.operations.costs.cost_report import (
    OF_BUCKETS,
    cost_per_million,
    plot_costs,
    sum_costs,
)
from batch_predictions.operations.costs.usage import FOLDER, StepCost, Usage, peak_mib, reset_peak
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.settings import CostsSettings, Settings
from batch_predictions.tables import COSTS, TABLES
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions_tests.worlds.bucket import bucket_server

DAYS = dg.DailyPartitionsDefinition(start_date="2024-03-01", end_date="2024-03-10")
DAY = "2024-03-03"
BYTES = 64 << 20


def made(rows: int) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"dagster/partition_row_count": rows})


@dg.asset(key_prefix="predictions", partitions_def=DAYS)
def lists(context) -> dg.MaterializeResult:  # type: ignore[no-untyped-def]
    """Uses CPU and memory."""
    block = bytearray(os.urandom(1024) * (BYTES // 1024))
    sum(block[:: 1 << 6])
    return made(1_000)


@dg.asset(key_prefix="models", partitions_def=DAYS)
def broken(context) -> None:  # type: ignore[no-untyped-def]
    raise ValueError("a fault")


def run(settings: Settings, *days: str) -> str:
    """Materializes both assets with the home's instance; the run's id."""
    home_instance.prepare(settings)
    tags = {
        "dagster/asset_partition_range_start": min(days),
        "dagster/asset_partition_range_end": max(days),
    }
    with dg.DagsterInstance.get() as instance:
        result = dg.materialize(
            [lists, broken],
            instance=instance,
            partition_key=days[0] if len(days) == 1 else None,
            tags=tags if len(days) > 1 else None,
            raise_on_error=False,
        )
    return result.run_id


def test_a_run_has_a_row_for_each_asset(settings: Settings, warehouse: Warehouse) -> None:
    settings.costs = CostsSettings(core_hour=3600.0)
    run_id = run(settings, DAY)
    assert collect_costs(settings) == 2
    rows = {row["asset"]: row for row in warehouse.query("from evaluation.costs").to_pylist()}
    assert set(rows) == {"predictions.lists", "models.broken"}
    lists_row = rows["predictions.lists"]
    assert (lists_row["rows"], lists_row["partition_key"], lists_row["run_id"]) == (
        1_000,
        DAY,
        run_id,
    )
    assert lists_row["date"] == as_date(DAY)
    assert lists_row["cpu_seconds"] > 0 and lists_row["seconds"] > 0
    assert lists_row["peak_mib"] > BYTES / 2**20
    assert lists_row["cost"] == pytest.approx(lists_row["cpu_seconds"])
    assert (lists_row["requests"], lists_row["bytes_sent"], lists_row["bytes_received"]) == (
        0,
        0,
        0,
    )
    assert rows["models.broken"]["rows"] == 0
    # Nothing is left to collect, and other runs of the day are kept.
    assert collect_costs(settings) == 0
    run(settings, DAY)
    collect_costs(settings)
    assert warehouse.value("select count(distinct run_id) from evaluation.costs") == 2


def test_what_cannot_be_recorded_is_told_in_a_line(
    settings: Settings, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    settings.home.mkdir(exist_ok=True)
    (settings.home / FOLDER).write_text("a file in place of the folder")
    run(settings, DAY)
    lines = [line for line in caplog.messages if "is not recorded" in line]
    assert {line.split()[1] for line in lines} == {"predictions__lists", "models__broken"}
    assert "Logging error" not in capfd.readouterr().err


def test_a_run_of_a_range_has_one_row_with_its_first_and_last_day(
    settings: Settings, warehouse: Warehouse
) -> None:
    settings.home.joinpath(FOLDER).mkdir()
    rows = {"2024-03-03": 5, "2024-03-04": 7}
    steps = [
        StepCost("r1", "orders.score", 2, 3, 100, 10, 20, {}),
        StepCost("r1", "orders.load", 1, 1, 300, 1, 2, {"predictions.orders": rows}),
    ]
    write(settings, steps)
    collect_costs(settings)
    [row] = warehouse.query("from evaluation.costs").to_pylist()
    assert (row["date"], row["partition_key"]) == (
        as_date("2024-03-04"),
        "2024-03-03...2024-03-04",
    )
    assert (row["rows"], row["seconds"], row["cpu_seconds"]) == (12, 3, 4)
    assert (row["peak_mib"], row["bytes_read"], row["bytes_written"]) == (300, 11, 22)


def test_assets_that_are_made_together_share_their_steps(
    settings: Settings, warehouse: Warehouse
) -> None:
    settings.costs = CostsSettings(core_hour=900.0, gpu_hour=1800.0, gib_month=1024.0)
    both = {"predictions.lists": {DAY: 10}, "features.scores": {DAY: 30}}
    step = StepCost("r1", "lists.score", 4, 8, 50, 0, 2 << 20, both, "cuda:0")
    write(settings, [step])
    collect_costs(settings)
    rows = {row["asset"]: row for row in warehouse.query("from evaluation.costs").to_pylist()}
    assert [rows[asset]["rows"] for asset in both] == [10, 30]
    # 8 CPU seconds cost 2, 4 seconds of a GPU 2, and 2 MiB for a month 2: 6, half of it each.
    assert [rows[asset]["cost"] for asset in both] == [pytest.approx(3)] * 2
    total = cost_per_million(warehouse, as_date(DAY), as_date(DAY))
    assert total["cost_per_million"] == pytest.approx(6 / (10 / 1e6))


def test_requests_to_a_bucket_have_prices(settings: Settings, warehouse: Warehouse) -> None:
    settings.costs = CostsSettings(million_writes=5e6, million_reads=1e6, gib_received=1024.0)
    requests = {"put": 2, "list": 2, "get": 1, "head": 3, "delete": 8}
    both = {"predictions.lists": {DAY: 10}, "features.scores": {DAY: 30}}
    step = StepCost("r1", "lists.load", assets=both, requests=requests)
    step.bytes_sent, step.bytes_received = 3 << 20, 6 << 20
    write(settings, [step])
    collect_costs(settings)
    # 4 requests that write cost 20, 4 that read 4, those that remove nothing, and 6 MiB cost 6.
    rows = warehouse.query(
        "select requests, bytes_sent, bytes_received, cost from evaluation.costs"
    )
    half = {"requests": 8, "bytes_sent": 3 << 19, "bytes_received": 3 << 20, "cost": 15.0}
    assert rows.to_pylist() == [half, half]
    shown = CliRunner().invoke(make_app(), ["costs", "--home", str(settings.home)])
    assert all(name in shown.output for name in OF_BUCKETS)


def test_a_home_whose_costs_have_no_requests_yet(
    settings: Settings, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = replace(COSTS, columns=COSTS.columns[:-3])
    assert older.columns[-1].name == "cost"
    with monkeypatch.context() as patch:
        patch.setitem(TABLES, COSTS.qualified, older)
        row = "1 as rows, 1.0 as seconds, 2.0 as cpu_seconds, 1.0 as peak_mib, 0 as bytes_read"
        warehouse.replace_partition(
            older,
            DAY,
            f"select DATE '{DAY}' as date, 'models.churn' as asset, '{DAY}' as partition_key, "
            f"'r0' as run_id, {row}, 0 as bytes_written, 0.0 as cost",
        )
    day = as_date(DAY)
    assert sum_costs(Warehouse.of(settings), day, day)[0]["requests"] == 0
    steps = [StepCost("r1", "orders.load", assets={"predictions.orders": {DAY: 5}})]
    write(settings, steps)
    assert collect_costs(settings) == 1
    query = "select run_id, requests from evaluation.costs order by 1"
    assert Warehouse.of(settings).query(query)["requests"].to_pylist() == [None, 0]


def test_a_step_counts_what_its_process_asks_the_bucket_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bucket_server() as new_home:
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
        settings = Settings(home=working_folder(new_home().url))
        bucket = bucket_of(settings.home)
        assert bucket is not None
        bucket.objects.traffic.take()
        # Before the first step, as a process that opens its home.
        bucket.objects.put("x", b"12345")
        assert bucket.objects.get("x") is not None
        run_id = run(settings, DAY)
        [file] = (settings.home / FOLDER).glob(f"{run_id}~*.jsonl")
        lines = file.read_text().splitlines()
        first, second = (StepCost(**json.loads(line)) for line in lines)
        assert first.requests["put"] >= 1 and first.requests["get"] >= 1
        assert first.bytes_sent >= 5 and first.bytes_received >= 5
        # The record of the step before.
        assert (second.requests, second.bytes_received) == ({"put": 1}, 0)
        assert bucket.objects.get(f"{FOLDER}/{file.name}") is not None


def test_steps_on_several_machines_are_one_run(settings: Settings, warehouse: Warehouse) -> None:
    for machine, asset in (("a", "predictions.lists"), ("b", "predictions.scores")):
        write(settings, [StepCost("r1", "step", 9, 7, 5, assets={asset: {DAY: 3}})])
        file = settings.home / FOLDER / "r1.jsonl"
        file.rename(file.with_name(f"r1~{machine}-1.jsonl"))
    assert collect_costs(settings) == 2
    rows = warehouse.query(
        "select asset, run_id, rows from evaluation.costs order by 1"
    ).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("predictions.lists", "r1", 3),
        ("predictions.scores", "r1", 3),
    ]
    assert collect_costs(settings) == 0


def test_a_run_that_made_nothing_is_charged_to_its_partition(
    settings: Settings, warehouse: Warehouse
) -> None:
    write(settings, [StepCost("r1", "models__churn", 9, 7, 5)])
    # As long as nobody knows the partition, the record is kept.
    assert collect_costs(settings) == 0
    assert collect_costs(settings, partition_of=lambda run_id: DAY) == 1
    [row] = warehouse.query("from evaluation.costs").to_pylist()
    assert (row["asset"], row["partition_key"], row["rows"]) == ("models.churn", DAY, 0)
    assert row["cpu_seconds"] == 7


def test_a_run_under_way_and_a_half_written_line_are_left(
    settings: Settings, warehouse: Warehouse
) -> None:
    write(settings, [StepCost("r1", "orders.load", assets={"predictions.orders": {DAY: 1}})])
    file = settings.home / FOLDER / "r1.jsonl"
    process_records.register(processes_folder(settings.home), "r1", "nightly")
    assert collect_costs(settings) == 0 and file.exists()
    process_records.unregister(processes_folder(settings.home), "r1")
    with file.open("a") as target:
        target.write('{"run_id": "r1", "st')
    assert collect_costs(settings) == 1 and not file.exists()


def test_sums_and_plot(settings: Settings, warehouse: Warehouse, tmp_path: Path) -> None:
    first, last = as_date("2024-03-01"), as_date("2024-03-10")
    assert cost_per_million(warehouse, first, last) == {}
    assert not plot_costs(warehouse, first, last, tmp_path / "none.png")
    for number, day in enumerate(("2024-03-03", "2024-03-04", "2024-04-01")):
        steps = [
            StepCost(f"r{number}", "orders.load", 1, 2, 9, assets={"predictions.orders": {day: 5}}),
            StepCost(f"r{number}", "models__churn", 1, 7, 5, assets={"models.churn": {day: 0}}),
        ]
        write(settings, steps)
    collect_costs(settings)
    by_asset = sum_costs(warehouse, first, last)
    assert [(row["asset"], row["runs"], row["rows"], row["cpu_seconds"]) for row in by_asset] == [
        ("models.churn", 2, 0, 14),
        ("predictions.orders", 2, 10, 4),
    ]
    by_date = sum_costs(warehouse, first, last, "date")
    assert [str(row["date"]) for row in by_date] == ["2024-03-03", "2024-03-04"]
    assert plot_costs(warehouse, first, last, tmp_path / "costs.png")
    with pytest.raises(ValueError, match="not by user"):
        sum_costs(warehouse, first, last, "user")


def test_the_command(settings: Settings) -> None:
    write(settings, [StepCost("r1", "orders.load", assets={"predictions.orders": {DAY: 5}})])
    command = ["costs", "--home", str(settings.home)]
    shown = CliRunner().invoke(make_app(), command)
    assert shown.exit_code == 0 and "predictions.orders" in shown.output, shown.output
    assert "a million predictions" in shown.output and "requests" not in shown.output
    printed = json.loads(CliRunner().invoke(make_app(), [*command, "--json"]).stdout)
    assert printed["predictions"] == 5 and printed["rows"][0]["runs"] == 1


def test_usage_grows() -> None:
    begin = Usage.read()
    reset_peak()
    sum(range(200_000))
    end = Usage.read()
    assert end.seconds > begin.seconds and end.cpu_seconds >= begin.cpu_seconds
    assert end.bytes_read >= begin.bytes_read and peak_mib() > 10


def write(settings: Settings, steps: list[StepCost]) -> None:
    """Records of steps, as the handler appends them."""
    folder = settings.home / FOLDER
    folder.mkdir(exist_ok=True)
    for step in steps:
        with (folder / f"{step.run_id}.jsonl").open("a") as file:
            file.write(json.dumps(vars(step)) + "\n")
