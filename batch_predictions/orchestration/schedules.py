"""The schedule `nightly`: its tick begins a night, and names the day by its own scheduled time."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg

from batch_predictions.core.home import HomeError, State
from batch_predictions.orchestration import dagster_internals
from batch_predictions.orchestration.jobs import INGEST, NIGHTLY
from batch_predictions.orchestration.nights import Night, PlannedRun, describe_unfinished
from batch_predictions.orchestration.planner import Planner
from batch_predictions.planning.run_plan import NoWeekEndedError
from batch_predictions.settings import Settings


def schedules(settings: Settings, state: State) -> list[dg.ScheduleDefinition]:
    """The schedule that begins the nights, in the source's time zone."""

    @dg.schedule(
        name=NIGHTLY.name,
        cron_schedule=settings.schedules.nightly,
        job_name=INGEST.name,
        execution_timezone=state.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Begins the night of the source's newest complete day with the ingest of the "
        "days that are missing or have changed. The sensor next_job starts what follows.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        if unfinished := describe_unfinished(context.instance, [INGEST]):
            return dg.SkipReason(
                f"{unfinished}, is not over: the sensor new_files asks for what is missing then"
            )
        scheduled = context.scheduled_execution_time.astimezone(ZoneInfo(state.timezone))
        assert context.repository_def is not None
        planner = Planner(settings, context.instance, context.repository_def.asset_graph)
        try:
            day = planner.newest_day(scheduled.date())
        except (HomeError, NoWeekEndedError) as error:
            return dg.SkipReason(str(error))
        return _begin(planner, day, f"{day} {NIGHTLY.name} {scheduled.isoformat()}", scheduled)

    return [tick]


def _begin(
    planner: Planner, day: dt.date, night_id: str, scheduled: dt.datetime
) -> list[dg.RunRequest] | dg.SkipReason:
    """The ingests that begin a night, or why there is nothing to do."""
    due = planner.next_due(day)
    if due is None:
        return dg.SkipReason(_nothing_due(planner.state, day, scheduled.date()))
    job, runs = due
    if job != INGEST:
        # A schedule starts one job: an ingest of equal rows changes nothing, and the rest follows.
        runs = [PlannedRun([day.isoformat()])]
    night = Night(day.isoformat(), night_id)
    return [night.request(INGEST, run, night_id) for run in runs]


def _nothing_due(state: State, day: dt.date, today: dt.date) -> str:
    if state.last_day is not None and day >= state.last_day:
        return (
            f"the source ended on {state.last_day}, which is predicted and released: begin a new "
            "home folder to replay it"
        )
    done = f"{day} is predicted and released, and nothing is new"
    if day < today - dt.timedelta(days=1):
        return f"the source has no later day yet: {done}; the sensor new_files asks for what comes"
    return done


def last_tick(settings: Settings, state: State, now: dt.datetime) -> dt.datetime:
    """Returns when the nightly schedule last ticked before `now`, in the source's time zone."""
    zone = ZoneInfo(state.timezone)
    if not dagster_internals.are_known():
        return now.astimezone(zone)
    from batch_predictions.orchestration.dagster_internals.dagster_utilities import last_tick

    return dt.datetime.fromtimestamp(
        last_tick(now.timestamp(), settings.schedules.nightly, state.timezone), zone
    )
