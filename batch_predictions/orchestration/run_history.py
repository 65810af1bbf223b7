"""The newest runs and check results of a home, from its Dagster instance."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_predictions.core import process_records
from batch_predictions.core.home_lock import processes_folder
from batch_predictions.core.redaction import redact
from batch_predictions.operations.records import DEAD, MAX_RUNS, FailedTick, RunState
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.orchestration.failures import first_cause, reason_of
from batch_predictions.orchestration.job_runner import PARTITION, RANGE_END, RANGE_START
from batch_predictions.orchestration.jobs import RELEASE, SCHEDULED
from batch_predictions.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


def last_runs(instance: dg.DagsterInstance, settings: Settings) -> list[RunState]:
    """The newest run of each job that has one, in the order of the jobs."""
    import dagster as dg

    states = []
    for job in (*SCHEDULED, RELEASE):
        chosen = dg.RunsFilter(job_name=job.name)
        for record in instance.get_run_records(chosen, limit=1):
            states.append(_state(instance, processes_folder(settings.home), record))
    return states


def runs_since(
    instance: dg.DagsterInstance, settings: Settings, first: dt.datetime
) -> list[RunState]:
    """The runs that were created since a time, with a time zone, newest first."""
    import dagster as dg

    records = instance.get_run_records(dg.RunsFilter(created_after=first), limit=MAX_RUNS)
    return [_state(instance, processes_folder(settings.home), record) for record in records]


def _state(instance: dg.DagsterInstance, processes: Path, record: Any) -> RunState:
    run = record.dagster_run
    tags = run.tags
    first, last = (tags.get(tag, "") for tag in (RANGE_START, RANGE_END))
    partition = tags.get(PARTITION) or (f"{first} to {last}" if first else "")
    started, seconds = None, None
    if record.start_time:
        begin = dt.datetime.fromtimestamp(record.start_time, dt.UTC)
        started = begin.replace(microsecond=0, tzinfo=None).isoformat()
        if record.end_time:
            seconds = round(record.end_time - record.start_time, 1)
    status = run.status.value
    if (
        status == "STARTED"
        and process_records.is_registered(processes, run.run_id)
        and not process_records.is_running(processes, run.run_id)
    ):
        status = DEAD
    reason = _reason(instance, run.run_id) if status == "FAILURE" else ""
    return RunState(run.job_name, run.run_id, status, partition, started, seconds, reason)


def last_partition(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """The partition of a run, or the last of a range; None if it had none, or is not known."""
    run = instance.get_run_by_id(run_id)
    return (run.tags.get(PARTITION) or run.tags.get(RANGE_END)) if run else None


def failed_ticks(instance: dg.DagsterInstance, since: float) -> list[FailedTick]:
    """The schedules and sensors whose newest tick failed, with its error, by name.

    Args:
        instance: of the home.
        since: seconds since the epoch; older ticks are of a sensor that is no more.
    """
    failed: list[FailedTick] = []
    if instance.schedule_storage is None:
        return failed
    for state in instance.all_instigator_state():
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1):
            if tick.status.value == "FAILURE" and tick.timestamp >= since:
                reason = redact(" ".join(first_cause(tick.error).split()))
                failed.append(FailedTick(state.instigator_name, reason))
    return sorted(failed, key=lambda tick: tick.name)


def _reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """The first cause of a failed run in a line."""
    import dagster as dg

    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        if entry.dagster_event is not None:
            return reason_of(entry.dagster_event).splitlines()[0]
    return f"see run {run_id} in the UI"


@contextmanager
def home_instance_of(settings: Settings) -> Iterator[dg.DagsterInstance | None]:
    """The home's instance; None where nothing has run in it yet."""
    import dagster as dg

    if not (settings.home / "dagster" / "history").exists() and not settings.execution.instance:
        yield None
        return
    home_instance.prepare(settings)
    with dg.DagsterInstance.get() as instance:
        yield instance
