"""The event log of a home's Dagster instance: SQLite, written in batches, without repetitions.

Dagster's own storage opens a database, and syncs it, two to four times per event: a first ingest
of a year took half a minute before its first step. This one keeps connections open, and writes the
events of a range of partitions in one transaction. `recorded_events` says what is left out.
Without it Dagster's own storage is used, which reads and writes the same files.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from dagster import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from batch_predictions.orchestration.dagster_internals.recorded_events import HomeEvents
from batch_predictions.settings import home_folder

MAX_OPEN_DATABASES = 4
"""That of all runs' asset events and those of the newest runs, one database for each run."""
BUSY_SECONDS = 30
"""How long a statement waits for another process."""


def dagster_folder() -> Path:
    """The folder of the instance in DAGSTER_HOME, or else in the home folder."""
    return Path(os.environ.get("DAGSTER_HOME") or home_folder() / "dagster")


class HomeEventLogStorage(HomeEvents, SqliteEventLogStorage):
    """Dagster's events in `<home>/dagster/history/runs`, in Dagster's own format."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._batch: dict[str, Connection] = {}
        self._batch_stack = ExitStack()
        self._batch_thread: int | None = None
        super().__init__(base_dir, inst_data)
        # An open database leaves its write-ahead log, of up to 4 MB, when the process ends.
        weakref.finalize(self, _dispose_engines, self._engines)

    @classmethod
    def config_type(cls) -> dict[str, object]:
        """Declares no configuration: the folder follows DAGSTER_HOME, so a home can be moved."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, object]
    ) -> Self:
        """The storage of the instance in DAGSTER_HOME, or else in the home folder.

        A job of a Ray cluster has the home folder only.
        """
        return cls(str(dagster_folder() / "history" / "runs"), inst_data)

    # --- connections ----------------------------------------------------------------------------

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """A transaction of a database; within a batch, that of the batch."""
        if self._batch_thread == threading.get_ident():
            if shard not in self._batch:
                self._batch[shard] = self._batch_stack.enter_context(self._transaction(shard))
            yield self._batch[shard]
            return
        with self._db_lock, self._transaction(shard) as connection:
            yield connection

    @contextmanager
    def _transaction(self, shard: str) -> Iterator[Connection]:
        engine = self._engine(shard)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        with engine.connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> Engine:
        """The engine of a database, whose one connection stays open."""
        if shard not in self._engines:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=StaticPool,
                connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            )
            event.listen(engine, "connect", _sync_at_checkpoints)
            self._engines[shard] = engine
        self._engines.move_to_end(shard)
        surplus = [name for name in self._engines if name != shard and name not in self._batch]
        for name in surplus[: max(0, len(self._engines) - MAX_OPEN_DATABASES)]:
            self.close_database(name)
        return self._engines[shard]

    def close_database(self, shard: str) -> None:
        """Closes the connection to a run's database, so that its file can be removed."""
        engine = self._engines.pop(shard, None)
        if engine is not None:
            engine.dispose()
        self._initialized_dbs.discard(shard)

    def dispose(self) -> None:
        """Closes the connections to all databases."""
        for shard in list(self._engines):
            self.close_database(shard)
        super().dispose()

    # --- events ---------------------------------------------------------------------------------

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Stores events in one transaction for each database."""
        with self._db_lock:
            self._batch_thread = threading.get_ident()
            try:
                with ExitStack() as self._batch_stack:
                    for entry in self.worth_recording(events):
                        # Not by HomeEvents, which would look for repetitions again.
                        super(HomeEvents, self).store_event(entry)
            finally:
                self._batch.clear()
                self._batch_thread = None


def _dispose_engines(engines: dict[str, Engine]) -> None:
    for engine in engines.values():
        engine.dispose()


def _sync_at_checkpoints(connection: Any, record: Any) -> None:
    """Syncs a database at the checkpoints of its write-ahead log, and not at every event.

    After a power failure the newest events may be missing; the database is consistent.
    """
    connection.execute("pragma synchronous = normal")
