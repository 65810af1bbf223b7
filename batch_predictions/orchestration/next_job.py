"""The sensor `next_job`: when a job of a night has ended, it starts the one that follows.

It looks at the runs of the newest night at every tick, and keeps no event: Dagster's run-status
sensors move on from a run even where their function raises, so that a night would end with the
first moment in which a source cannot be read.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus

from batch_predictions.core.durability import is_about_full_disk
from batch_predictions.core.home_lock import HomeBusyError, home_lock
from batch_predictions.operations.retention.prune import prune_after_run
from batch_predictions.orchestration import jobs
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.orchestration.failures import reason_of
from batch_predictions.orchestration.nights import (
    UNFINISHED,
    Night,
    PlannedRun,
    describe_requests,
    failed_runs,
    partitions_of,
    runs_of_newest_night,
)
from batch_predictions.orchestration.planner import Planner, is_any_prediction_made
from batch_predictions.planning.repair import finish_repair
from batch_predictions.planning.unchanged import record_night, record_weeks_of_run
from batch_predictions.settings import Settings
from batch_predictions.warehouse import as_date

_log = logging.getLogger(__name__)
NAME = "next_job"
SECONDS = 15
_JOBS = {job.name: job for job in (*jobs.SCHEDULED, jobs.RELEASE)}
_MUST_SUCCEED = (jobs.INGEST, jobs.INGEST_WEEKLY)
"""What follows them would be made from rows that are not there."""


def next_job(definitions: Sequence[Any]) -> dg.SensorDefinition:
    """Builds the sensor that starts the next job of a night when one has ended.

    Args:
        definitions: Dagster's jobs.
    """

    @dg.sensor(
        name=NAME,
        description="When a job of a night has ended, starts the next one that has something to "
        "do: ingest, ingest_weekly, weekly_training, weekly_predictions, nightly; and release, "
        "where nightly failed in part. A failed ingest ends the night; where a training or a "
        "weekly table fails, the night goes on with what there was before.",
        jobs=definitions,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(
        context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
    ) -> dg.SensorResult | dg.SkipReason:
        records = runs_of_newest_night(context.instance)
        if not records:
            return dg.SkipReason("no night has begun yet")
        newest = records[0].dagster_run
        if newest.run_id == context.cursor:
            return dg.SkipReason("no job of a night has ended since")
        for record in records:
            run = record.dagster_run
            if run.status in UNFINISHED:
                return dg.SkipReason(f"{run.job_name} of {partitions_of(run)} is under way")
        assert context.repository_def is not None
        planner = Planner(settings, context.instance, context.repository_def.asset_graph)
        requests = _go_on(planner, records)
        note = requests if isinstance(requests, str) else describe_requests(requests)
        context.log.info(note)
        if isinstance(requests, str):
            return dg.SensorResult(skip_reason=note, cursor=newest.run_id)
        return dg.SensorResult(run_requests=requests, cursor=newest.run_id)

    return sensor


def _go_on(planner: Planner, records: Sequence[dg.RunRecord]) -> list[dg.RunRequest] | str:
    """Requests the next runs of a night whose runs have ended, or says why there are none.

    Args:
        planner: of the home.
        records: the night's runs, newest first.

    Raises:
        SourceError: the source cannot be read; the next tick tries again.
    """
    newest = records[0].dagster_run
    night, job = Night.of_run(newest), _JOBS[newest.job_name]
    day, failed = as_date(night.day), failed_runs(records, job)
    if newest.status == DagsterRunStatus.CANCELED:
        return f"{job.name} was ended by a person: the next tick of the schedule begins again"
    if failed and job in _MUST_SUCCEED:
        return (
            f"{job.name} of {partitions_of(failed[0])} failed: the night of {day} ends, and the "
            "release before serves; the next tick of the schedule tries again"
        )
    if failed and _is_disk_full(planner.instance, newest.run_id):
        return f"the disk is full: the night of {day} ends, and the release before serves"
    if job == jobs.RELEASE:
        return f"the night of {day} is over"
    if job == jobs.NIGHTLY:
        return _finish(planner, night, records)
    if job == jobs.WEEKLY_PREDICTIONS and not failed:
        plan, times = planner.plan(day, day, after=jobs.NIGHTLY), _times_of(records[0])
        record_weeks_of_run(planner.settings, plan, planner.warehouse, *times)
    due = planner.next_due(day, job)
    if due is None:
        _end_night(planner, records)
        return f"the night of {day} is over: nothing else is due"
    following, runs = due
    return [night.request(following, run, newest.run_id) for run in runs]


def _finish(
    planner: Planner, night: Night, records: Sequence[dg.RunRecord]
) -> list[dg.RunRequest] | str:
    """Records a night that is complete; where `nightly` failed, releases what it made."""
    newest = records[0].dagster_run
    if newest.status == DagsterRunStatus.SUCCESS:
        _end_night(planner, records)
        # A night with a failure is not recorded, so that the next tick tries again what failed.
        if not failed_runs(records):
            day = as_date(night.day)
            plan, times = planner.plan(day, day, after=jobs.NIGHTLY), _times_of(records[0])
            record_night(planner.settings, plan, planner.warehouse, *times)
        return f"the night of {night.day} is over"
    if not is_any_prediction_made(planner.warehouse, night.day):
        return f"no prediction of {night.day} was made: the release before serves"
    return [night.request(jobs.RELEASE, PlannedRun([night.day]), newest.run_id)]


def _end_night(planner: Planner, records: Sequence[dg.RunRecord]) -> None:
    """Forgets what was repaired, and removes what is not kept, as `run` does at its end."""
    settings = planner.settings
    begun = min(record.create_timestamp.timestamp() for record in records)
    finish_repair(settings, [partitions_of(run) for run in failed_runs(records)], begun)
    try:
        with home_lock(settings.home, "retention at the end of a night"):
            prune_after_run(settings, DagsterRecords(settings, planner.instance), _log.info)
    except HomeBusyError as error:
        _log.info("nothing is removed by this night: %s", error)


def _times_of(record: dg.RunRecord) -> tuple[float, float]:
    """Start and end of a run that has ended, in seconds since the epoch."""
    ended = record.end_time or 0.0
    return record.start_time or ended, ended


def _is_disk_full(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Returns whether a step of a run failed because the disk is full."""
    entries = instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE)
    reasons = [reason_of(entry.get_dagster_event()) for entry in entries]
    return any(map(is_about_full_disk, reasons))
