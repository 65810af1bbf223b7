"""The event log of a home's Dagster instance: SQLite, written in batches, without repetitions.

Dagster's own storage opens a database, and syncs it, two to four times per event: a first ingest
of a year took half a minute before its first step. This one keeps connections open, writes the
events of a range of partitions in one transaction, and leaves out the event of a partition that a
command or a night has written again with equal rows: in a range always, else if the versions of its
inputs are equal too, since the UI would call it outdated otherwise. Who materializes a partition by
hand sees it.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from dagster import AssetMaterialization, DagsterEventType, EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from dagster_shared.serdes import deserialize_value, serialize_value
from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.pool import StaticPool

from batch_predictions.automation.run_tags import AUTOMATION_TAG, OWNER_TAG
from batch_predictions.redaction import redact
from batch_predictions.settings import home_folder

MAX_OPEN_DATABASES = 4
"""That of all runs' asset events and those of the newest runs, one database for each run."""
BATCH_VARIABLE, BATCH_EVENTS = "DAGSTER_EVENT_BATCH_SIZE", "1000"
"""Dagster's variable that lets it store events in batches."""
_UNATTENDED = {OWNER_TAG, AUTOMATION_TAG}
CODE_VERSION_TAG = "dagster/code_version"
INPUT_VERSION_TAGS = "dagster/input_data_version/"


class HomeEventLogStorage(SqliteEventLogStorage):
    """Dagster's events in `<home>/dagster/history/runs`, in Dagster's own format."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._batch: dict[str, Connection] = {}
        self._batch_stack = ExitStack()
        self._batch_thread: int | None = None
        self._is_range = False
        self._tables: set[str] = set()
        self._by_hand: dict[str, bool] = {}
        super().__init__(base_dir, inst_data)
        # An open database leaves its write-ahead log, of up to 4 MB, when the process ends.
        weakref.finalize(self, _dispose_engines, self._engines)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No configuration: the folder follows DAGSTER_HOME, so that a home can be moved."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """The storage of the instance in DAGSTER_HOME, or else in the home folder.

        A job of a Ray cluster has the home folder only.
        """
        folder = Path(os.environ.get("DAGSTER_HOME") or home_folder() / "dagster")
        return cls(str(folder / "history" / "runs"), inst_data)

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
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
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
        """Closes all connections."""
        for shard in list(self._engines):
            self.close_database(shard)
        super().dispose()

    def has_table(self, table_name: str) -> bool:
        """Whether a table exists; Dagster asks for every event."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    # --- events ---------------------------------------------------------------------------------

    def store_event(self, event: EventLogEntry) -> None:
        """Stores an event, unless it repeats what is recorded; without passwords."""
        if not self._is_repetition(event):
            super().store_event(_redacted(event))

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Stores events in one transaction for each database."""
        with self._db_lock:
            self._batch_thread = threading.get_ident()
            self._is_range = sum(_materialization(entry) is not None for entry in events) > 1
            try:
                with ExitStack() as self._batch_stack:
                    for entry in events:
                        self.store_event(entry)
            finally:
                self._batch.clear()
                self._batch_thread = None
                self._is_range = False

    def _is_repetition(self, entry: EventLogEntry) -> bool:
        """Whether a partition was written with equal rows, and its event says nothing new."""
        new = _materialization(entry)
        if new is None or new.partition is None:
            return False
        changed = new.metadata.get("changed")
        if changed is None or changed.value is not False:
            return False
        recorded = self.newest_materialization(new)
        if recorded is None or self._is_by_hand(entry.run_id):
            return False
        # To each partition of a range, Dagster gives the versions of the inputs of all.
        with_inputs = not self._is_range
        return provenance(*recorded, with_inputs=with_inputs) == provenance(
            new, entry.run_id, with_inputs=with_inputs
        )

    def _is_by_hand(self, run_id: str) -> bool:
        """Whether a person started a run, and no command and no night."""
        if run_id not in self._by_hand:
            run = self._instance.get_run_by_id(run_id) if self.has_instance else None
            self._by_hand = {run_id: run is not None and not run.tags.keys() & _UNATTENDED}
        return self._by_hand[run_id]

    def newest_materialization(
        self, of: AssetMaterialization
    ) -> tuple[AssetMaterialization, str] | None:
        """The recorded materialization of the same asset and partition, and its run's id."""
        query = (
            select(Events.c.event)
            .where(
                Events.c.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION.value,
                Events.c.asset_key == of.asset_key.to_string(),
                Events.c.partition == of.partition,
            )
            .order_by(Events.c.id.desc())
            .limit(1)
        )
        with self.index_connection() as connection:
            text = connection.execute(query).scalar()
        if text is None:
            return None
        entry = deserialize_value(text, EventLogEntry)
        materialization = _materialization(entry)
        return None if materialization is None else (materialization, entry.run_id)


def provenance(
    materialization: AssetMaterialization, run_id: str, *, with_inputs: bool
) -> dict[str, str]:
    """What a partition was computed from: versions of inputs, and of the code if it is declared."""
    tags = materialization.tags or {}
    versions = {
        name: tag
        for name, tag in tags.items()
        if with_inputs and name.startswith(INPUT_VERSION_TAGS)
    }
    code = tags.get(CODE_VERSION_TAG, run_id)
    # Without a declared version Dagster takes the run's id.
    return versions if code == run_id else versions | {CODE_VERSION_TAG: code}


def _redacted(entry: EventLogEntry) -> EventLogEntry:
    """An event whose texts, such as those of an exception, have no password."""
    if _materialization(entry) is not None:
        return entry  # its metadata, with plots, is the platform's own
    text = serialize_value(entry)
    if redact(text) == text:
        return entry
    return deserialize_value(json.dumps(_redacted_values(json.loads(text))), EventLogEntry)


def _redacted_values(value: Any) -> Any:
    """JSON values with every text redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted_values(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _redacted_values(inner) for key, inner in value.items()}
    return value


def _dispose_engines(engines: dict[str, Engine]) -> None:
    for engine in engines.values():
        engine.dispose()


def _materialization(entry: EventLogEntry) -> AssetMaterialization | None:
    dagster_event = entry.dagster_event
    if dagster_event is None or not dagster_event.is_step_materialization:
        return None
    return dagster_event.step_materialization_data.materialization


def _sync_at_checkpoints(connection: Any, record: Any) -> None:
    """Syncs a database at the checkpoints of its write-ahead log, and not at every event.

    After a power failure the newest events may be missing; the database is consistent.
    """
    connection.execute("pragma synchronous = normal")
