"""The schedule begins the night of the source's newest complete day at its tick's own time."""

from __future__ import annotations

import datetime as dt
from typing import ClassVar
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from batch_predictions.core.home import State
from batch_predictions.orchestration import schedules as module
from batch_predictions.orchestration.jobs import INGEST, NIGHTLY, JobSpec
from batch_predictions.orchestration.nights import DAY_TAG, PlannedRun
from batch_predictions.orchestration.planner import Planner
from batch_predictions.orchestration.schedules import last_tick, schedules
from batch_predictions.planning.run_plan import RunPlan
from batch_predictions.settings import ScheduleSettings, Settings
from batch_predictions.tables.partitions import latest_ended_week
from batch_predictions_tests.worlds.dagster_internals import needs_internals
from batch_predictions_tests.worlds.started_runs import start_run

ZONE = "America/New_York"
STATE = State(
    source_kind="files",
    timezone=ZONE,
    first_day=dt.date(2024, 1, 1),
    last_day=dt.date(2024, 6, 30),
    default_date=dt.date(2024, 1, 7),
)


class SourceOfDays:
    """A source that has every day until its last one."""

    home = None

    def __init__(self, last: dt.date) -> None:
        self.last = last

    def newest_complete_day(self, today: dt.date) -> dt.date:
        return min(self.last, today - dt.timedelta(days=1))


class Plan(Planner):
    """A plan with a source of days; what is due is set by a test."""

    source = SourceOfDays(dt.date(2024, 6, 30))  # type: ignore[assignment]
    ingests: ClassVar[list[PlannedRun]] = []
    due_after: ClassVar[list[PlannedRun]] = []

    def __init__(self, *_: object) -> None:
        self.state = STATE

    def plan(self, first: object, last: object, *_: object, **__: object) -> RunPlan:
        assert isinstance(last, dt.date)
        return RunPlan(last, last, [latest_ended_week(last)], [], [])

    def begin_repair(self, plan: RunPlan) -> list[str]:
        return []

    def due(self, job: JobSpec, plan: RunPlan) -> list[PlannedRun]:
        return {INGEST: self.ingests, NIGHTLY: self.due_after}.get(job, [])


@pytest.fixture(autouse=True)
def _plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Planner", Plan)
    monkeypatch.setattr(Plan, "ingests", [PlannedRun(["2024-03-05"])])
    monkeypatch.setattr(Plan, "due_after", [])


def tick(instance: dg.DagsterInstance, at: dt.datetime) -> list[dg.RunRequest] | str:
    """The requests of a tick, or why there are none."""
    [schedule] = schedules(Settings(), STATE)
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at.replace(tzinfo=ZoneInfo(ZONE)),
        repository_def=dg.Definitions(assets=[]).get_repository_def(),
    )
    answer = schedule(context)
    if isinstance(answer, dg.SkipReason):
        return str(answer.skip_message)
    assert isinstance(answer, list)
    return answer


@pytest.mark.parametrize(
    ("at", "day"),
    [
        (dt.datetime(2024, 3, 6, 5), "2024-03-05"),
        (dt.datetime(2024, 3, 1, 5), "2024-02-29"),
        # The clocks go forward between midnight and the tick.
        (dt.datetime(2024, 3, 10, 5), "2024-03-09"),
    ],
)
def test_a_tick_names_its_day(instance: dg.DagsterInstance, at: dt.datetime, day: str) -> None:
    answer = tick(instance, at)
    assert isinstance(answer, list)
    assert [request.tags[DAY_TAG] for request in answer] == [day]
    assert answer[0].partition_key == "2024-03-05"
    # Another night asks again for what failed.
    later = tick(instance, at + dt.timedelta(days=1))
    assert isinstance(later, list) and later[0].run_key != answer[0].run_key


def test_missing_days_are_ingested_in_ranges(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [PlannedRun(["2024-01-02"]), PlannedRun(["2024-03-03", "2024-03-05"])]
    monkeypatch.setattr(Plan, "ingests", days)
    answer = tick(instance, dt.datetime(2024, 3, 6, 5))
    assert isinstance(answer, list)
    single, span = answer
    assert single.partition_key == "2024-01-02" and span.partition_key is None
    assert span.tags["dagster/asset_partition_range_start"] == "2024-03-03"
    assert span.tags["dagster/asset_partition_range_end"] == "2024-03-05"


def test_a_night_with_nothing_to_ingest_begins_with_its_day(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "ingests", [])
    at = dt.datetime(2024, 3, 6, 5)
    assert "2024-03-05 is predicted and released, and nothing is new" in tick(instance, at)
    monkeypatch.setattr(Plan, "due_after", [PlannedRun(["2024-03-05"])])
    answer = tick(instance, at)
    assert isinstance(answer, list) and [r.partition_key for r in answer] == ["2024-03-05"]


def test_a_tick_before_the_first_week_has_ended_or_without_a_later_day_is_skipped(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no week of this source" in tick(instance, dt.datetime(2024, 1, 3, 5))
    monkeypatch.setattr(Plan, "ingests", [])
    assert "new home folder to replay" in tick(instance, dt.datetime(2024, 7, 2, 5))
    monkeypatch.setattr(Plan, "source", SourceOfDays(dt.date(2024, 3, 3)))
    late = tick(instance, dt.datetime(2024, 3, 6, 5))
    assert "no later day yet" in late and "new_files" in late


def test_a_tick_asks_for_nothing_while_a_night_or_an_ingest_is_under_way(
    instance: dg.DagsterInstance,
) -> None:
    at = dt.datetime(2024, 3, 6, 5)
    # Runs of other jobs do not hold it up.
    start_run(instance, {})
    assert isinstance(tick(instance, at), list)

    @dg.job(name=INGEST.name)
    def backfill() -> None:
        pass

    start_run(instance, {"dagster/partition": "2024-01-02"}, of=backfill)
    assert "ingest of 2024-01-02" in tick(instance, at)


@needs_internals
def test_the_schedule_runs_in_the_sources_time_zone_and_is_on_by_default() -> None:
    [schedule] = schedules(Settings(), STATE)
    assert schedule.execution_timezone == ZONE and schedule.name == "nightly"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    weekly = Settings(schedules=ScheduleSettings(nightly="0 5 * * 1"))
    sunday = dt.datetime(2024, 3, 10, 12, tzinfo=ZoneInfo(ZONE))
    assert last_tick(weekly, STATE, sunday).isoformat() == "2024-03-04T05:00:00-05:00"
    assert last_tick(Settings(), STATE, sunday).isoformat() == "2024-03-10T05:00:00-04:00"
