"""The newest runs and check results of a home, from its Dagster instance."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_predictions.core import process_records
from batch_predictions.core.home_lock import processes_folder
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.orchestration.failures import reason_of
from batch_predictions.orchestration.job_runner import (
    PARTITION,
    RANGE_END,
    RANGE_START,
)
from batch_predictions.orchestration.jobs import (
    RELEASE,
    SCHEDULED,
)
from batch_predictions.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

DEAD = "DEAD"
CLOCK_TOLERANCE = dt.timedelta(minutes=5)
"""By which clocks of machines that share a home may differ."""


@dataclass(frozen=True)
class RunState:
    """The newest run of a job.

    Attributes:
        job: its name.
        run_id: Dagster's id.
        status: Dagster's word, such as SUCCESS, FAILURE or STARTED; `DEAD` for one that is not
            marked as failed yet, while its process has died.
        partition: of the run, or the first and last of a range; empty if it had none.
        started_at: UTC, to the second; None before it began.
        seconds: how long it took; None before it ended.
        reason: the first cause of a failure in a line; empty otherwise.
    """

    job: str
    run_id: str
    status: str
    partition: str
    started_at: str | None
    seconds: float | None
    reason: str


@dataclass(frozen=True)
class CheckState:
    """The newest result of an asset check.

    Attributes:
        table: the asset, such as predictions.demand.
        name: of the check.
        partition: that was checked; empty if it had none.
        passed: whether it did.
        severity: WARN or ERROR, of a failure.
        description: what was seen.
    """

    table: str
    name: str
    partition: str
    passed: bool
    severity: str
    description: str


def last_runs(settings: Settings) -> list[RunState]:
    """The newest run of each job that has one, in the order of the jobs."""
    import dagster as dg

    states = []
    with _instance(settings) as instance:
        if instance is None:
            return []
        for job in (*SCHEDULED, RELEASE):
            chosen = dg.RunsFilter(job_name=job.name)
            for record in instance.get_run_records(chosen, limit=1):
                states.append(_state(instance, processes_folder(settings.home), record))
    return states


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


def _reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """The first cause of a failed run in a line."""
    import dagster as dg

    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        if entry.dagster_event is not None:
            return reason_of(entry.dagster_event).splitlines()[0]
    return f"see run {run_id} in the UI"


def run_in_the_future(runs: Sequence[RunState], now: dt.datetime) -> str | None:
    """Warns if a run began later than now: the clock is behind, or was ahead.

    Args:
        runs: the newest ones.
        now: by the clock, with a time zone.
    """
    begins = [(run.started_at, run.job) for run in runs if run.started_at is not None]
    if not begins:
        return None
    started_at, job = max(begins)
    if dt.datetime.fromisoformat(started_at).replace(tzinfo=dt.UTC) <= now + CLOCK_TOLERANCE:
        return None
    return (
        f"the newest run of {job} began at {started_at} UTC, and the clock says "
        f"{now:%Y-%m-%dT%H:%M:%S} UTC: it is behind, or was ahead; while it is behind, days "
        "that are over are not seen, and nothing is due: set it, and see that it is synchronised"
    )


def last_checks(settings: Settings) -> list[CheckState]:
    """The newest result of every asset check that has one, by table and name."""
    from dagster import EventLogEntry
    from dagster._core.storage.event_log import SqlEventLogStorage
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
    from dagster_shared.serdes import deserialize_value
    from sqlalchemy import func, select

    with _instance(settings) as instance:
        if instance is None or not isinstance(instance.event_log_storage, SqlEventLogStorage):
            return []
        columns = AssetCheckExecutionsTable.c
        newest = select(func.max(columns.id)).where(
            # Not those that are planned only, as of a step that failed.
            columns.execution_status.in_(("SUCCEEDED", "FAILED"))
        )
        newest = newest.group_by(columns.asset_key, columns.check_name)
        query = select(columns.evaluation_event).where(columns.id.in_(newest))
        with instance.event_log_storage.index_connection() as db:
            texts = db.execute(query).scalars().all()
    entries = [deserialize_value(text, EventLogEntry) for text in texts]
    evaluations = [entry.get_dagster_event().asset_check_evaluation_data for entry in entries]
    states = [
        CheckState(
            ".".join(evaluation.asset_key.path),
            evaluation.check_name,
            evaluation.partition or "",
            evaluation.passed,
            evaluation.severity.value,
            evaluation.description or "",
        )
        for evaluation in evaluations
    ]
    return sorted(states, key=lambda state: (state.table, state.name))


@contextmanager
def _instance(settings: Settings) -> Iterator[dg.DagsterInstance | None]:
    """The home's instance; None where nothing has run in it yet."""
    import dagster as dg

    if not (settings.home / "dagster" / "history").exists() and not settings.execution.instance:
        yield None
        return
    home_instance.prepare(settings)
    with dg.DagsterInstance.get() as instance:
        yield instance
