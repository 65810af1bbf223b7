"""Dagster's records of a home, behind the port that operations know."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batch_predictions.core.erasures import ErasedUsers
from batch_predictions.operations.records import CheckState, FailedTick, RunState
from batch_predictions.orchestration import dagster_internals, run_history
from batch_predictions.settings import Settings
from batch_predictions.tables import Table

if TYPE_CHECKING:
    import dagster as dg


MAX_TICK_AGE_SECONDS = 7 * 86_400
"""Age of the newest tick of a schedule or sensor that is still looked at."""


class DagsterRecords:
    """The records of a home's Dagster instance; without one, as before the first run, none."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance | None = None) -> None:
        """Takes the settings of a home, and its instance where one is open already."""
        self._settings, self._open = settings, instance

    @contextmanager
    def _instance(self) -> Iterator[dg.DagsterInstance | None]:
        if self._open is not None:
            yield self._open
            return
        with run_history.home_instance_of(self._settings) as instance:
            yield instance

    def last_runs(self) -> list[RunState]:
        """Reads the newest run of each job that has one, in the order of the jobs."""
        with self._instance() as instance:
            return run_history.last_runs(instance, self._settings) if instance else []

    def runs_since(self, first: dt.datetime) -> list[RunState]:
        """Reads the runs that were created since a time, newest first."""
        with self._instance() as instance:
            return run_history.runs_since(instance, self._settings, first) if instance else []

    def last_checks(self) -> list[CheckState]:
        """Reads the newest result of every asset check that has one, by table and name."""
        if not dagster_internals.are_known():
            return []
        from batch_predictions.orchestration.dagster_internals.check_history import last_checks

        with self._instance() as instance:
            return last_checks(instance) if instance else []

    def last_partition(self, run_id: str) -> str | None:
        """The partition of a run, or the last of a range; None if it had none, or is unknown."""
        with self._instance() as instance:
            return run_history.last_partition(instance, run_id) if instance else None

    def failed_ticks(self) -> list[FailedTick]:
        """Reads which schedules and sensors failed at their newest tick, by name."""
        since = time.time() - MAX_TICK_AGE_SECONDS
        with self._instance() as instance:
            return run_history.failed_ticks(instance, since) if instance else []

    def daemon_heartbeat(self) -> float | None:
        """The daemon's newest sign of life, seconds since the epoch; None: it never ran."""
        with self._instance() as instance:
            beats = instance.get_daemon_heartbeats().values() if instance else ()
            return max((beat.timestamp for beat in beats), default=None)

    def unfinished_runs(self) -> list[str]:
        """Ids of the runs whose outputs may still be read."""
        from batch_predictions.inference.dagster.io_manager import unfinished_runs

        with self._instance() as instance:
            return unfinished_runs(instance) if instance else []

    def remove_old_runs(self, keep_days: int, now: float) -> int:
        """Removes finished runs that are older than `keep_days` at `now`, oldest first."""
        if not dagster_internals.are_known():
            return 0
        from batch_predictions.orchestration.dagster_internals.run_retention import remove_old_runs

        with self._instance() as instance:
            return remove_old_runs(instance, keep_days, now) if instance else 0

    def partitions(self, table: Table) -> set[str]:
        """Keys of the partitions of a table that are recorded; empty if they cannot be removed."""
        if not dagster_internals.are_known():
            return set()
        import dagster as dg

        from batch_predictions.orchestration.dagster_internals.recorded_events import HomeEvents

        with self._instance() as instance:
            events = instance.event_log_storage if instance else None
            if not isinstance(events, HomeEvents):
                return set()
            return events.get_materialized_partitions(dg.AssetKey([table.schema, table.name]))

    def remove_partitions(self, table: Table, keys: Sequence[str]) -> None:
        """Removes the events of partitions, which Dagster then shows as missing."""
        import dagster as dg

        with self._instance() as instance:
            if instance is not None:
                key = dg.AssetKey([table.schema, table.name])
                instance.event_log_storage.wipe_asset_partitions(key, keys)

    def erase(self, users: ErasedUsers) -> int:
        """Removes users from previews, lines of logs and captured output."""
        from batch_predictions.orchestration.erased_records import erase_from_records

        return erase_from_records(self._settings.home, users)
