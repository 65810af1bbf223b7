"""The status of a home: what is served, how old it is, and what needs attention."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from batch_predictions.cli.command_line import make_app
from batch_predictions.core.home import write_state
from batch_predictions.core.home_lock import processes_folder
from batch_predictions.models.model_store import Decision, ModelStore, Verdict
from batch_predictions.operations.records import DEAD, RunState, run_in_the_future
from batch_predictions.operations.refused_models import refused_models
from batch_predictions.operations.status import read_status
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.settings import AlertsSettings, Settings, SourceSettings
from batch_predictions.tables import RECOMMENDATIONS
from batch_predictions_tests.worlds.dagster_internals import needs_internals
from batch_predictions_tests.worlds.home_state import STATE
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world
from batch_predictions_tests.worlds.small_home import write_model
from batch_predictions_tests.worlds.started_runs import start_run

NEXT = DAY + dt.timedelta(days=1)


@pytest.fixture
def world(tmp_path: Path) -> ServingWorld:
    """A home whose source's newest day is DAY, and which has nothing of it yet."""
    home = tmp_path / "home"
    write_state(home, STATE)
    world = open_world(home)
    source = tmp_path / "shop"
    source.mkdir()
    (source / "interactions.csv").write_text(f"user_id,item_id,date\nu1,i1,{DAY}\n")
    world.settings.source = SourceSettings(kind="files", path=source)
    return world


def test_a_home_without_a_run(tmp_path: Path) -> None:
    status = read_status(
        Settings(home=tmp_path / "home"), DagsterRecords(Settings(home=tmp_path / "home")), 2, NEXT
    )
    assert status.release_id is None and "has no run yet" in status.problems[0].message


def test_what_is_served_and_what_comes_next(world: ServingWorld) -> None:
    before = read_status(world.settings, DagsterRecords(world.settings), 2, NEXT)
    assert (before.source_day, before.next_day, before.is_due) == (str(DAY), str(DAY), True)
    assert [problem.condition for problem in before.problems] == ["no_release"]
    release = world.release()
    status = read_status(world.settings, DagsterRecords(world.settings), 2, NEXT)
    assert (status.release_id, status.as_of, status.age_days) == (release.release_id, str(DAY), 1)
    assert status.rows["recommendations"] == 12
    assert (status.next_day, status.is_due, status.problems) == (str(NEXT), False, [])
    assert status.home_bytes["warehouse"] > 0 and status.free_bytes > 0


@pytest.mark.parametrize(("age", "problems"), [(2, 0), (3, 2)])
def test_an_old_release_and_a_silent_source(world: ServingWorld, age: int, problems: int) -> None:
    world.release()
    status = read_status(
        world.settings, DagsterRecords(world.settings), 2, DAY + dt.timedelta(days=age)
    )
    assert len(status.problems) == problems
    if problems:
        old, silent = (problem.message for problem in status.problems)
        assert f"as of {DAY}, 3 days ago" in old and f"newest day is {DAY}, 3 days" in silent


def test_a_table_of_an_earlier_day_is_a_problem(world: ServingWorld) -> None:
    world.release()
    world.predict(NEXT, "b")
    world.warehouse.remove_partition(RECOMMENDATIONS, NEXT.isoformat())
    world.publish(NEXT)
    status = read_status(world.settings, DagsterRecords(world.settings), 9, NEXT)
    assert status.as_of == str(NEXT) and status.earlier_days == {"recommendations": str(DAY)}
    [problem, *_] = status.problems
    assert problem.condition == "earlier_day:recommendations"
    assert problem.message.startswith(f"recommendations is of {DAY}")


def test_a_source_that_cannot_be_read_and_a_full_disk(
    world: ServingWorld,
) -> None:
    world.release()
    world.settings.source = SourceSettings(kind="files", path=Path("/nowhere"))
    world.settings.alerts = AlertsSettings(min_free_gb=2**32)
    disk, source = (
        problem.message
        for problem in read_status(world.settings, DagsterRecords(world.settings), 2, NEXT).problems
    )
    assert "MiB left" in disk and source.startswith("the source cannot be read")


@needs_internals
def test_failed_runs_dead_ones_and_checks(world: ServingWorld) -> None:
    world.release()
    assert (
        DagsterRecords(world.settings).last_runs() == []
        and DagsterRecords(world.settings).last_checks() == []
    )

    @dg.asset
    def table() -> None:
        pass

    @dg.asset_check(asset=table)
    def rows() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=False, severity=dg.AssetCheckSeverity.ERROR, description="3 rows are wrong"
        )

    @dg.op
    def fail() -> None:
        raise ValueError("a fault\nwith two lines")

    @dg.job
    def nightly() -> None:
        fail()

    home_instance.prepare(world.settings)
    with dg.DagsterInstance.get() as instance:
        dg.materialize([table, rows], instance=instance)
        result = nightly.execute_in_process(instance=instance, raise_on_error=False)
        assert not result.success
        started = instance.create_run_for_job(nightly, tags={"dagster/partition": "2024-03-04"})
        [failed] = DagsterRecords(world.settings).last_runs()[:1]
        instance.report_engine_event("started", started)
    assert failed.run_id == started.run_id and failed.status == "NOT_STARTED"
    status = read_status(world.settings, DagsterRecords(world.settings), 2, NEXT)
    assert (status.checks_passed, [check.name for check in status.checks]) == (0, ["rows"])
    assert any("check rows of table failed" in p.message for p in status.problems)
    with dg.DagsterInstance.get() as instance:
        instance.delete_run(started.run_id)
    [run] = DagsterRecords(world.settings).last_runs()
    assert (run.job, run.status, run.reason) == ("nightly", "FAILURE", "fail: ValueError: a fault")
    assert any(
        p.condition == "run:nightly"
        for p in read_status(world.settings, DagsterRecords(world.settings), 2).problems
    )


def test_a_run_whose_process_died_is_told(world: ServingWorld) -> None:
    @dg.op
    def wait() -> None:
        pass

    @dg.job
    def ingest() -> None:
        wait()

    home_instance.prepare(world.settings)
    with dg.DagsterInstance.get() as instance:
        run_id = start_run(instance, {}, ingest)
    record = processes_folder(world.settings.home) / f"{run_id}.json"
    record.parent.mkdir(exist_ok=True)
    record.write_text("{}", encoding="utf-8")
    [state] = DagsterRecords(world.settings).last_runs()
    assert state.status == DEAD
    problems = read_status(world.settings, DagsterRecords(world.settings), 2, NEXT).problems
    assert any("the process of ingest died" in problem.message for problem in problems)


@pytest.mark.parametrize(("minutes_ahead", "is_told"), [(4, False), (6, True)])
def test_a_clock_that_was_set_back_is_told(minutes_ahead: int, is_told: bool) -> None:
    now = dt.datetime(2024, 3, 4, 5, tzinfo=dt.UTC)
    begins = [now - dt.timedelta(days=1), now + dt.timedelta(minutes=minutes_ahead)]
    runs = [
        RunState("nightly", "r", "SUCCESS", "", begin.replace(tzinfo=None).isoformat(), 1.0, "")
        for begin in begins
    ]
    runs.append(RunState("ingest", "r", "NOT_STARTED", "", None, None, ""))
    told = run_in_the_future(runs, now)
    assert (told is not None) is is_told
    if told:
        assert "nightly began at 2024-03-04T05:06:00 UTC" in told
        assert "the clock says 2024-03-04T05:00:00" in told
    assert run_in_the_future([], now) is None


def test_a_model_that_the_gate_refused_is_told(world: ServingWorld) -> None:
    models = ModelStore.of(world.settings)
    version = models.save(
        "m",
        DAY - dt.timedelta(days=14),
        lambda folder: write_model(folder, "a"),
        candidate="c",
        parameters={},
        data_version="d",
    ).version
    decisions: list[tuple[int, Verdict]] = [(14, "promoted"), (7, "kept"), (0, "promoted")]
    for days, verdict in decisions:
        day = DAY - dt.timedelta(days=days)
        models.decide(
            Decision(model="m", version=version, effective_from=day, decision=verdict, why="worse")
        )
    assert refused_models(models, DAY - dt.timedelta(days=14)) == {}
    told = refused_models(models, DAY - dt.timedelta(days=1))["m"]
    assert told.startswith(f"the training of m through {DAY - dt.timedelta(days=7)} was refused")
    assert f"{version} goes on serving (worse)" in told
    problems = read_status(
        world.settings, DagsterRecords(world.settings), 9, DAY - dt.timedelta(days=1)
    ).problems
    assert "refused_model:m" in {problem.condition for problem in problems}
    assert refused_models(models, DAY) == {}


def test_the_command_ends_with_1_where_something_needs_attention(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.release()
    source = world.settings.source
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__KIND", source.kind)
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__PATH", str(source.path))
    command = ["status", "--home", str(world.settings.home)]
    result = CliRunner().invoke(make_app(), command)
    assert result.exit_code == 1 and "problem  applications see predictions as of" in result.output
    result = CliRunner().invoke(make_app(), [*command, "--max-age", "99999", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["problems"] == []
