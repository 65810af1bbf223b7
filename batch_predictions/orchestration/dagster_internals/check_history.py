"""Reads the newest result of every asset check in one query.

Dagster's public interface has one query for each check: without it, status has no checks.
"""

from __future__ import annotations

import dagster as dg
from dagster import deserialize_value
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from sqlalchemy import func, select

from batch_predictions.operations.records import CheckState


def last_checks(instance: dg.DagsterInstance) -> list[CheckState]:
    """The newest result of every asset check that has one, by table and name."""
    if not isinstance(instance.event_log_storage, SqlEventLogStorage):
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
    entries = [deserialize_value(text, dg.EventLogEntry) for text in texts]
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
