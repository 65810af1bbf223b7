"""Runs whose process was killed: they are marked as failed, and their pool slots are freed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from batch_predictions.core import process_records
from batch_predictions.core.home_lock import processes_folder
from batch_predictions.operations.records import OWNER_TAG

_UNFINISHED = [
    DagsterRunStatus.STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.CANCELING,
]


def owner() -> str:
    """Host and process id, with which runs of commands are tagged."""
    return f"{socket.gethostname()}:{os.getpid()}"


def fail_dead_runs(
    instance: dg.DagsterInstance, home: Path, *, is_alone: bool = False, untracked: bool = False
) -> list[str]:
    """Marks unfinished runs whose process is dead as failed, and frees their pool slots.

    Every run has a record of its process from its first step on (`process_records`).

    Args:
        instance: the home's Dagster instance.
        home: the home folder.
        is_alone: whether the caller holds the home's lock alone: then no other command is running.
        untracked: mark runs of the UI without such a record as failed too.

    Returns:
        Ids of the runs.
    """
    records, failed = processes_folder(home), []
    for run in instance.get_runs(RunsFilter(statuses=_UNFINISHED)):
        if process_records.is_running(records, run.run_id):
            continue
        command = run.tags.get(OWNER_TAG)
        if process_records.is_registered(records, run.run_id):
            why = "its process died"
        elif is_alone and command and run.status == DagsterRunStatus.STARTED:
            # The UI copies the tag to runs that it is about to start again.
            why = f"process {command} died"
        elif untracked:
            why = "ended by `run --end-stuck-runs`"
        else:
            continue
        instance.report_run_failed(run, why)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        failed.append(run.run_id)
    process_records.forget_dead(records)
    return failed
