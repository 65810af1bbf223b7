"""The sensor `next_job`: when a job of a night has ended, it starts the one that follows.

It looks at the runs of the newest night at every tick, and keeps no event: Dagster's run-status
sensors move on from a run even where their function raises, so that a night would end with the
first moment in which a source cannot be read.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus

from batch_predictions.core.durability import is_about_full_disk
from batch_predictions.core.home_lock import HomeBusyError, home_lock
from batch_predictions.models.model_store import ModelStore
from batch_predictions.orchestration import jobs
from batch_predictions.orchestration.after_run import finish_run
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.orchestration.failures import Failure, failures_of_run, reason_of
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
from batch_predictions.planning.unchanged import (
    record_failures,
    record_night,
    record_weeks_of_run,
)
from batch_predictions.serving.release.served import describe_served
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
        _record_failures(planner, night, records)
        return (
            f"{job.name} of {partitions_of(failed[0])} failed: the night of {day} ends, and the "
            "release before serves; the next tick of the schedule tries again"
        )
    if failed and _is_disk_full(planner.instance, newest.run_id):
        _record_failures(planner, night, records)
        return f"the disk is full: the night of {day} ends, and the release before serves"
    if job in (jobs.NIGHTLY, jobs.RELEASE):
        return _finish(planner, night, records)
    if job == jobs.WEEKLY_PREDICTIONS and not failed:
        plan, times = planner.plan(day, day, after=jobs.NIGHTLY), _times_of(records[0])
        record_weeks_of_run(planner.settings, plan, planner.warehouse, *times)
    due = planner.next_due(day, job)
    if due is None:
        _end_night(planner, night, records)
        return f"the night of {day} is over: nothing else is due"
    following, runs = due
    return [night.request(following, run, newest.run_id) for run in runs]


def _finish(
    planner: Planner, night: Night, records: Sequence[dg.RunRecord]
) -> list[dg.RunRequest] | str:
    """Ends a night whose last job has ended; where `nightly` failed, releases what it made."""
    newest = records[0].dagster_run
    if newest.job_name == jobs.NIGHTLY.name and newest.status != DagsterRunStatus.SUCCESS:
        if not is_any_prediction_made(planner.warehouse, night.day):
            _record_failures(planner, night, records)
            return f"no prediction of {night.day} was made: the release before serves"
        failures = _failures_of(planner, newest)
        waiting = [failure.asset for failure in failures if failure.waits or failure.is_of_release]
        if waiting:
            # Metrics and the release need all predictions, and do with what there is of them.
            return [night.request(jobs.RELEASE, PlannedRun([night.day], waiting), newest.run_id)]
    _end_night(planner, night, records)
    # A night with a failure is not recorded, so that the next tick tries again what failed.
    if not failed_runs(records):
        day = as_date(night.day)
        plan, times = planner.plan(day, day, after=jobs.NIGHTLY), _times_of(records[0])
        record_night(planner.settings, plan, planner.warehouse, *times)
    return f"the night of {night.day} is over"


def _end_night(planner: Planner, night: Night, records: Sequence[dg.RunRecord]) -> None:
    """Forgets what was repaired, and removes what is not kept, as `run` does at its end."""
    settings = planner.settings
    begun = min(record.create_timestamp.timestamp() for record in records)
    finish_repair(settings, [partitions_of(run) for run in failed_runs(records)], begun)
    unfinished: dict[str, str] = {}
    try:
        with home_lock(settings.home, "retention at the end of a night"):
            unfinished = finish_run(settings, DagsterRecords(settings, planner.instance), _log.info)
    except HomeBusyError as error:
        _log.info("nothing is removed by this night: %s", error)
    _record_failures(planner, night, records, unfinished)


def _record_failures(
    planner: Planner,
    night: Night,
    records: Sequence[dg.RunRecord],
    unfinished: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Stores what the runs of a night could not make, for `status` and alerts.

    Args:
        planner: of the home.
        night: the night, whose last run has ended.
        records: its runs, newest first.
        unfinished: why a step at its end failed, by its name.
    """
    settings, models = planner.settings, ModelStore.of(planner.settings)
    failed: dict[str, str] = {}
    for record in reversed(records):
        run = record.dagster_run
        for key in _assets_of(planner, run):
            # What a later run of the night has made is there.
            failed.pop("/".join(key.path), None)
        for failure in _failures_of(planner, run):
            if failure.is_of_release:
                failed[failure.name] = f"{failure.reason}. {describe_served(settings)}"
            else:
                is_weekly = _JOBS[run.job_name].is_weekly
                failed[failure.name] = failure.describe(
                    models, as_date(night.day), is_weekly=is_weekly
                )
    record_failures(settings, night.day, failed | dict(unfinished))


def _failures_of(planner: Planner, run: dg.DagsterRun) -> list[Failure]:
    """The assets that a run of a night did not make."""
    if run.status == DagsterRunStatus.SUCCESS:
        return []
    return failures_of_run(planner.instance, run, _assets_of(planner, run), planner.graph)


def _assets_of(planner: Planner, run: dg.DagsterRun) -> Collection[dg.AssetKey]:
    return run.asset_selection or planner.assets.keys(_JOBS[run.job_name])


def _times_of(record: dg.RunRecord) -> tuple[float, float]:
    """Start and end of a run that has ended, in seconds since the epoch."""
    ended = record.end_time or 0.0
    return record.start_time or ended, ended


def _is_disk_full(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Returns whether a step of a run failed because the disk is full."""
    entries = instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE)
    reasons = [reason_of(entry.get_dagster_event()) for entry in entries]
    return any(map(is_about_full_disk, reasons))
