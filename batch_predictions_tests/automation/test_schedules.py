"""Schedules ask for the partition that their tick's own time names."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from batch_predictions.automation.jobs import (
    INGEST,
    INGEST_WEEKLY,
    NIGHTLY,
    WEEKLY_PREDICTIONS,
    WEEKLY_TRAINING,
)
from batch_predictions.automation.schedules import schedules
from batch_predictions.home import State
from batch_predictions.settings import RecommenderSettings, Settings

JOBS = (INGEST, INGEST_WEEKLY, WEEKLY_TRAINING, WEEKLY_PREDICTIONS, NIGHTLY)
ZONE = "America/New_York"
STATE = State(
    source_kind="files",
    timezone=ZONE,
    first_day=dt.date(2024, 1, 1),
    last_day=dt.date(2024, 6, 30),
    default_date=dt.date(2024, 1, 7),
)


def _tick(
    name: str, at: dt.datetime, settings: Settings | None = None
) -> list[dg.RunRequest] | dg.SkipReason:
    planned = schedules(settings or Settings(), STATE, JOBS)
    schedule = next(schedule for schedule in planned if schedule.name == name)
    answer = schedule(dg.build_schedule_context(scheduled_execution_time=at))
    assert isinstance(answer, list | dg.SkipReason)
    return answer


@pytest.mark.parametrize(
    ("name", "at", "partition"),
    [
        ("nightly", dt.datetime(2024, 3, 6, 5), "2024-03-05"),
        ("ingest", dt.datetime(2024, 3, 1, 1), "2024-02-29"),
        # The clocks go forward between midnight and the tick.
        ("nightly", dt.datetime(2024, 3, 10, 5), "2024-03-09"),
        # A Monday's training is of the week that ended on Sunday.
        ("weekly_training", dt.datetime(2024, 3, 11, 3), "2024-03-04"),
        # A tick that comes late, on Wednesday, still names the week that had ended.
        ("weekly_training", dt.datetime(2024, 3, 13, 3), "2024-03-04"),
    ],
)
def test_a_tick_names_its_partition(name: str, at: dt.datetime, partition: str) -> None:
    answer = _tick(name, at.replace(tzinfo=ZoneInfo(ZONE)))
    assert isinstance(answer, list)
    [request] = answer
    assert request.partition_key == partition and request.run_key == partition


@pytest.mark.parametrize(
    ("at", "weeks"),
    [
        # From Monday to Sunday the 14 days from the tick on lie in this week and the next two.
        (dt.datetime(2024, 3, 11, 2), ["2024-03-11", "2024-03-18", "2024-03-25"]),
        (dt.datetime(2024, 3, 17, 3), ["2024-03-11", "2024-03-18", "2024-03-25"]),
        # A home that begins next Monday, and the last week of the source.
        (dt.datetime(2023, 12, 30, 2), ["2024-01-01", "2024-01-08"]),
        (dt.datetime(2024, 6, 26, 2), ["2024-06-24"]),
    ],
)
def test_weeks_known_in_advance_are_requested_before_they_begin(
    at: dt.datetime, weeks: list[str]
) -> None:
    def requests_at(at: dt.datetime) -> list[dg.RunRequest]:
        answer = _tick("ingest_weekly", at.replace(tzinfo=ZoneInfo(ZONE)))
        assert isinstance(answer, list)
        return answer

    requests = requests_at(at)
    assert [request.partition_key for request in requests] == weeks
    # The next tick asks for them again: more may be known by then.
    later = requests_at(at + dt.timedelta(days=1))
    assert not {r.run_key for r in requests} & {r.run_key for r in later}


def test_the_number_of_weeks_ahead_follows_planned_weeks() -> None:
    settings = Settings(recommender=RecommenderSettings(planned_weeks=4))
    at = dt.datetime(2024, 3, 17, 2, tzinfo=ZoneInfo(ZONE))
    answer = _tick("ingest_weekly", at, settings)
    assert isinstance(answer, list)
    # On Sunday the 28 days from Monday on lie in the four weeks after the running one.
    assert [request.partition_key for request in answer] == [
        *("2024-03-11", "2024-03-18", "2024-03-25", "2024-04-01", "2024-04-08")
    ]


def test_a_tick_before_the_homes_first_day_or_after_the_sources_last_is_skipped() -> None:
    before_start = _tick("nightly", dt.datetime(2024, 1, 1, 5, tzinfo=ZoneInfo(ZONE)))
    assert isinstance(before_start, dg.SkipReason) and "first day" in str(before_start.skip_message)
    after_end = _tick("nightly", dt.datetime(2024, 7, 2, 5, tzinfo=ZoneInfo(ZONE)))
    assert isinstance(after_end, dg.SkipReason) and "new home" in str(after_end.skip_message)
    week = _tick("weekly_training", dt.datetime(2024, 1, 1, 3, tzinfo=ZoneInfo(ZONE)))
    assert isinstance(week, dg.SkipReason)
    for at in (dt.datetime(2023, 12, 13, 2), dt.datetime(2024, 7, 1, 2)):
        assert isinstance(_tick("ingest_weekly", at.replace(tzinfo=ZoneInfo(ZONE))), dg.SkipReason)


def test_schedules_run_in_the_sources_time_zone_and_are_on_by_default() -> None:
    for schedule in schedules(Settings(), STATE, JOBS):
        assert schedule.execution_timezone == ZONE
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
