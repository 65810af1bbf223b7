"""Schedules: the partition comes from the tick's own time, never from the clock on the wall."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import dagster as dg

from batch_predictions.automation.jobs import Job
from batch_predictions.home import State
from batch_predictions.partitions import week_of
from batch_predictions.settings import Settings


def schedules(settings: Settings, state: State, jobs: Sequence[Job]) -> list[dg.ScheduleDefinition]:
    """A schedule for every job, in the source's time zone."""
    times = settings.schedules.model_dump()
    return [_schedule(job, times[job.name], state) for job in jobs]


def _yesterday(now: dt.datetime) -> dt.date:
    return now.date() - dt.timedelta(days=1)


def _ended_week(now: dt.datetime) -> dt.date:
    """The Monday of the newest week that had ended at the tick."""
    return week_of(now.date()) - dt.timedelta(days=7)


def _schedule(job: Job, cron: str, state: State) -> dg.ScheduleDefinition:
    first = week_of(state.first_day) if job.is_weekly else state.first_day
    partition = _ended_week if job.is_weekly else _yesterday

    @dg.schedule(
        name=job.name,
        cron_schedule=cron,
        job_name=job.name,
        execution_timezone=state.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=job.description,
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        key = partition(context.scheduled_execution_time)
        if key < first:
            return dg.SkipReason(f"{key} lies before this home's first day, {state.first_day}")
        if state.last_day and key > state.last_day:
            return dg.SkipReason(
                f"the source ended on {state.last_day}: begin a new home folder to replay it"
            )
        return dg.RunRequest(run_key=key.isoformat(), partition_key=key.isoformat())

    return tick
