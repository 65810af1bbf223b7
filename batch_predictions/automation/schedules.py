"""Schedules: partitions come from the tick's scheduled time, never from the clock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import dagster as dg

from batch_predictions.automation.jobs import JobSpec
from batch_predictions.home import State
from batch_predictions.partitions import week_of, weeks_ahead
from batch_predictions.settings import Settings


def schedules(
    settings: Settings, state: State, jobs: Sequence[JobSpec]
) -> list[dg.ScheduleDefinition]:
    """A schedule for every job, in the source's time zone."""
    cron_by_job = settings.schedules.model_dump()
    return [_schedule(job, cron_by_job[job.name], state, weeks_ahead(settings)) for job in jobs]


def _due_partitions(job: JobSpec, now: dt.datetime, ahead: int) -> list[dt.date]:
    """Partitions of a tick: yesterday, or the newest week that has ended.

    Of a job that is known ahead, the running week and those after it, `ahead` weeks in all.
    """
    this_week = week_of(now.date())
    if job.is_ahead:
        return [this_week + dt.timedelta(days=7 * n) for n in range(ahead)]
    if job.is_weekly:
        return [this_week - dt.timedelta(days=7)]
    return [now.date() - dt.timedelta(days=1)]


def _schedule(job: JobSpec, cron: str, state: State, ahead: int) -> dg.ScheduleDefinition:
    first = week_of(state.first_day) if job.is_weekly else state.first_day

    @dg.schedule(
        name=job.name,
        cron_schedule=cron,
        job_name=job.name,
        execution_timezone=state.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=job.description,
    )
    def tick(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        now = context.scheduled_execution_time
        keys = _due_partitions(job, now, ahead)
        if max(keys) < first:
            return dg.SkipReason(f"{max(keys)} is before this home's first day, {state.first_day}")
        available = [key for key in keys if key >= first and key <= (state.last_day or key)]
        if not available:
            return dg.SkipReason(
                f"the source ended on {state.last_day}: begin a new home folder to replay it"
            )
        # A week that is known ahead is ingested again by later ticks, when more of it is known.
        suffix = f" as of {now.date()}" if job.is_ahead else ""
        return [
            dg.RunRequest(run_key=f"{key}{suffix}", partition_key=key.isoformat())
            for key in available
        ]

    return tick
