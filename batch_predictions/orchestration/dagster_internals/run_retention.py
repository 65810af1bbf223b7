"""Removes old runs from the home's Dagster instance: their events, compute logs and databases.

`DagsterInstance.delete_run` would remove the materializations of a run too, and the UI would show
its partitions as missing. Of an old run the newest materialization of every partition stays,
without previews, plots and lineage of columns, and so does the newest result of every asset check.
Without it old runs stay.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import (
    DagsterEventType,
    EventLogEntry,
    RunRecord,
    RunsFilter,
    deserialize_value,
    serialize_value,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Checks
from dagster._core.storage.event_log.schema import AssetEventTagsTable as EventTags
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable, SnapshotsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from sqlalchemy import Connection, and_, delete, func, select, update

from batch_predictions.operations.records import RUNS_AT_ONCE
from batch_predictions.orchestration.dagster_internals.event_log import HomeEventLogStorage

_SHOWN_OF_NEW_RUNS = (dg.MarkdownMetadataValue, dg.TableColumnLineageMetadataValue)
"""Metadata that takes most of the bytes, and that people look at on new partitions."""
_EVALUATED = [
    AssetCheckExecutionRecordStatus.SUCCEEDED.value,
    AssetCheckExecutionRecordStatus.FAILED.value,
]


def remove_old_runs(instance: dg.DagsterInstance, keep_days: int, now: float) -> int:
    """Removes finished runs that were created more than `keep_days` ago, oldest first.

    Args:
        instance: of the home. If its storage is not SQL, nothing is removed.
        keep_days: age in days.
        now: seconds since the epoch.

    Returns:
        The number of runs removed, at most `RUNS_AT_ONCE`: the next call removes further ones.
    """
    events, runs = instance.event_log_storage, instance.run_storage
    if not (isinstance(events, SqlEventLogStorage) and isinstance(runs, SqlRunStorage)):
        return 0
    oldest = dt.datetime.fromtimestamp(now, dt.UTC) - dt.timedelta(days=keep_days)
    records = instance.get_run_records(
        RunsFilter(statuses=[*FINISHED_STATUSES], created_before=oldest),
        limit=RUNS_AT_ONCE,
        ascending=True,
    )
    if not records:
        return 0
    run_ids = [record.dagster_run.run_id for record in records]
    # The run last: if this process is killed, the next one finds it again.
    with events.index_connection() as db:
        _remove_events(db, run_ids)
        _remove_previews(db, run_ids)
    for run_id in run_ids:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        if isinstance(events, SqliteEventLogStorage):
            _remove_database(events, run_id)
    with runs.connect() as db:
        _remove_runs(db, records)
    return len(run_ids)


def _remove_events(db: Connection, run_ids: Sequence[str]) -> None:
    """Removes events and check results of runs, without the newest of a partition or check."""
    newest_event = (
        select(func.max(Events.c.id).label("id"))
        .where(Events.c.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION.value)
        .group_by(Events.c.asset_key, Events.c.partition)
        .subquery()
    )
    is_old = and_(Events.c.run_id.in_(run_ids), Events.c.id.not_in(select(newest_event.c.id)))
    old_events = select(Events.c.id).where(is_old)
    db.execute(delete(EventTags).where(EventTags.c.event_id.in_(old_events)))
    db.execute(delete(Events).where(is_old))
    newest_check = (
        select(func.max(Checks.c.id).label("id"))
        .where(Checks.c.execution_status.in_(_EVALUATED))
        .group_by(Checks.c.asset_key, Checks.c.check_name)
        .subquery()
    )
    is_old = and_(Checks.c.run_id.in_(run_ids), Checks.c.id.not_in(select(newest_check.c.id)))
    db.execute(delete(Checks).where(is_old))


def _remove_previews(db: Connection, run_ids: Sequence[str]) -> None:
    """Removes previews, tables, plots and the lineage of columns from materializations of runs."""
    query = select(Events.c.id, Events.c.event).where(Events.c.run_id.in_(run_ids))
    for event_id, text in db.execute(query).fetchall():
        if "MarkdownMetadataEntryData" in text:
            db.execute(
                update(Events).where(Events.c.id == event_id).values(event=_without_previews(text))
            )


def _without_previews(text: str) -> str:
    entry = deserialize_value(text, EventLogEntry)
    assert entry.dagster_event is not None
    data: Any = entry.dagster_event.event_specific_data
    kept = {
        name: value
        for name, value in data.materialization.metadata.items()
        if not isinstance(value, _SHOWN_OF_NEW_RUNS)
    }
    data = data._replace(materialization=data.materialization._replace(metadata=kept))
    dagster_event = entry.dagster_event._replace(event_specific_data=data)
    return serialize_value(entry._replace(dagster_event=dagster_event))


def _remove_database(events: SqliteEventLogStorage, run_id: str) -> None:
    """Removes the database of a run's events."""
    if isinstance(events, HomeEventLogStorage):
        events.close_database(run_id)
    for suffix in ("-wal", "-shm", ""):
        Path(f"{events.path_for_shard(run_id)}{suffix}").unlink(missing_ok=True)


def _remove_runs(db: Connection, records: Sequence[RunRecord]) -> None:
    """Removes runs, their tags, and snapshots of jobs and plans that no other run has."""
    removed = [record.dagster_run for record in records]
    run_ids = [run.run_id for run in removed]
    db.execute(delete(RunTagsTable).where(RunTagsTable.c.run_id.in_(run_ids)))
    db.execute(delete(RunsTable).where(RunsTable.c.run_id.in_(run_ids)))
    snapshots = {run.job_snapshot_id for run in removed}
    snapshots |= {run.execution_plan_snapshot_id for run in removed}
    for snapshot in snapshots - {None}:
        # The id of a plan's snapshot is in the run's body only.
        used = select(RunsTable.c.id).where(RunsTable.c.run_body.contains(snapshot)).limit(1)
        if db.execute(used).first() is None:
            db.execute(delete(SnapshotsTable).where(SnapshotsTable.c.snapshot_id == snapshot))
