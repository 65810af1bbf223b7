"""The port to Dagster's records of a home: what operations read of them and remove from them.

`orchestration.dagster_records` implements it; nothing else of Dagster is known here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from batch_predictions.core.erasures import ErasedUsers
from batch_predictions.tables import Table

OWNER_TAG = "batch_predictions/process"
"""Tag of the runs of commands, with their process; those of a person have no such tag."""
AUTOMATION_TAG, AUTOMATION = "batch_predictions/automation", "night"
"""Tag of all runs of nights; dagster.yaml lets one of them run at a time."""
RUNS_AT_ONCE = 100
"""Most runs that one call of `RunRecords.remove_old_runs` removes."""
MAX_RUNS = 500
"""Most runs that one call of `RunRecords.runs_since` reads."""
DEAD = "DEAD"
"""Status of a run that is not marked as failed yet, while its process has died."""
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


@dataclass(frozen=True)
class FailedTick:
    """A schedule or sensor whose newest tick failed.

    Attributes:
        name: of the schedule or sensor.
        reason: the error in a line.
    """

    name: str
    reason: str


class RunRecords(Protocol):
    """Dagster's records of a home: runs, check results, events of partitions, captured output."""

    def last_runs(self) -> list[RunState]:
        """Reads the newest run of each job that has one, in the order of the jobs."""
        ...

    def runs_since(self, first: dt.datetime) -> list[RunState]:
        """Reads the runs that were created since a time, newest first, `MAX_RUNS` at most."""
        ...

    def last_checks(self) -> list[CheckState]:
        """Reads the newest result of every asset check that has one, by table and name."""
        ...

    def last_partition(self, run_id: str) -> str | None:
        """The partition of a run, or the last of a range; None if it had none, or is unknown."""
        ...

    def failed_ticks(self) -> list[FailedTick]:
        """Reads which schedules and sensors failed at their newest tick, by name."""
        ...

    def daemon_heartbeat(self) -> float | None:
        """The daemon's newest sign of life, seconds since the epoch; None: it never ran."""
        ...

    def unfinished_runs(self) -> list[str]:
        """Ids of the runs whose outputs may still be read."""
        ...

    def remove_old_runs(self, keep_days: int, now: float) -> int:
        """Removes finished runs, oldest first.

        Args:
            keep_days: age in days from which runs are removed.
            now: seconds since the epoch.

        Returns:
            The number of runs removed, at most `RUNS_AT_ONCE`.
        """
        ...

    def partitions(self, table: Table) -> set[str]:
        """Keys of the partitions of a table that are recorded as materialized."""
        ...

    def remove_partitions(self, table: Table, keys: Sequence[str]) -> None:
        """Removes the events of partitions, which Dagster then shows as missing."""
        ...

    def erase(self, users: ErasedUsers) -> int:
        """Removes users from previews, lines of logs and captured output.

        Returns:
            The number of records and files that changed.
        """
        ...


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
