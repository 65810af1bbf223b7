"""Filters the event log of a home: no repetitions, passwords or removed partitions in it.

The event of a partition that a command or a night has written again with equal rows is left out: in
a range always, else if the versions of its inputs are equal too, since the UI would call it
outdated otherwise. Who materializes a partition by hand sees it.

Without it every night of equal rows adds 3 KB for each partition, partitions that are removed stay
in Dagster's records, and passwords in errors are stored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterEventType,
    EventLogEntry,
    deserialize_value,
    serialize_value,
)
from dagster._core.storage.event_log.schema import AssetEventTagsTable as EventTags
from dagster._core.storage.event_log.schema import AssetKeyTable as Assets
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy import and_, delete, select, update

from batch_predictions.core.redaction import redact
from batch_predictions.operations.records import AUTOMATION_TAG, OWNER_TAG
from batch_predictions.warehouse.reporting import CONTENT_HASH, DATA_VERSION_TAG

_UNATTENDED = {OWNER_TAG, AUTOMATION_TAG}
_CODE_VERSION_TAG = "dagster/code_version"
_INPUT_VERSION_TAGS = "dagster/input_data_version/"
_PARTITIONS_AT_ONCE = 500
"""SQLite bounds the number of parameters of a statement."""


class HomeEvents(SqlEventLogStorage):
    """The part of a home's event log that all databases share; a mix-in of Dagster's storages."""

    _by_hand: tuple[str, bool] = ("", False)
    _existing_tables: frozenset[str] = frozenset()

    def store_event(self, event: EventLogEntry) -> None:
        """Stores an event, unless it repeats what is recorded; without passwords."""
        for entry in self.worth_recording([event]):
            super().store_event(entry)

    def has_table(self, table_name: str) -> bool:
        """Returns whether a table exists; cached, since Dagster asks for every event."""
        is_new = table_name not in self._existing_tables
        if is_new and super().has_table(table_name):  # type: ignore[safe-super]
            self._existing_tables |= {table_name}
        return table_name in self._existing_tables

    def wipe_asset_partitions(self, asset_key: AssetKey, partition_keys: Sequence[str]) -> None:
        """Removes the events of partitions, which Dagster then shows as missing.

        Dagster's own SQL storages do not implement it. In SQLite the logs of runs keep copies.
        """
        name = asset_key.to_string()
        with self.index_transaction() as db:
            for start in range(0, len(partition_keys), _PARTITIONS_AT_ONCE):
                keys = partition_keys[start : start + _PARTITIONS_AT_ONCE]
                wiped = and_(Events.c.asset_key == name, Events.c.partition.in_(keys))
                ids = select(Events.c.id).where(wiped)
                db.execute(delete(EventTags).where(EventTags.c.event_id.in_(ids)))
                db.execute(delete(Events).where(wiped))
            # Dagster reads both again from the events that are left.
            remade = {Assets.c.last_materialization: None, Assets.c.cached_status_data: None}
            db.execute(update(Assets).where(Assets.c.asset_key == name).values(remade))

    def worth_recording(self, entries: Sequence[EventLogEntry]) -> list[EventLogEntry]:
        """Filters out repeated events and redacts passwords in the others."""
        is_range = sum(_materialization_of(entry) is not None for entry in entries) > 1
        return [
            _redacted(_with_data_version(entry))
            for entry in entries
            if not self._is_repetition(entry, with_inputs=not is_range)
        ]

    def _is_repetition(self, entry: EventLogEntry, *, with_inputs: bool) -> bool:
        """Returns whether a materialization has equal rows and says nothing new."""
        new = _materialization_of(entry)
        if new is None or new.partition is None:
            return False
        changed = new.metadata.get("changed")
        if changed is None or changed.value is not False:
            return False
        recorded = self._newest_materialization(new)
        if recorded is None or self._is_by_hand(entry.run_id):
            return False
        # To each partition of a range, Dagster gives the versions of the inputs of all.
        return _provenance(*recorded, with_inputs=with_inputs) == _provenance(
            new, entry.run_id, with_inputs=with_inputs
        )

    def _is_by_hand(self, run_id: str) -> bool:
        """Returns whether the run was started by hand in Dagster's pages."""
        known, is_by_hand = self._by_hand
        if known != run_id:
            run = self._instance.get_run_by_id(run_id) if self.has_instance else None
            is_by_hand = run is not None and not run.tags.keys() & _UNATTENDED
            self._by_hand = run_id, is_by_hand
        return is_by_hand

    def _newest_materialization(
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
        materialization = _materialization_of(entry)
        return None if materialization is None else (materialization, entry.run_id)


def _provenance(
    materialization: AssetMaterialization, run_id: str, *, with_inputs: bool
) -> dict[str, str]:
    """Versions of the inputs of a partition, and of the code if it is declared."""
    tags = materialization.tags or {}
    versions = {
        name: tag
        for name, tag in tags.items()
        if with_inputs and name.startswith(_INPUT_VERSION_TAGS)
    }
    code = tags.get(_CODE_VERSION_TAG, run_id)
    # Without a declared version Dagster takes the run's id.
    return versions if code == run_id else versions | {_CODE_VERSION_TAG: code}


def _with_data_version(entry: EventLogEntry) -> EventLogEntry:
    """Gives a materialization the version of its own partition, from its metadata."""
    materialization = _materialization_of(entry)
    version = materialization and materialization.metadata.get(CONTENT_HASH)
    if materialization is None or not version:
        return entry
    tags = {**(materialization.tags or {}), DATA_VERSION_TAG: str(version.value)}
    data: Any = entry.get_dagster_event().event_specific_data
    data = data._replace(materialization=materialization._replace(tags=tags))
    return entry._replace(
        dagster_event=entry.get_dagster_event()._replace(event_specific_data=data)
    )


def _redacted(entry: EventLogEntry) -> EventLogEntry:
    """Redacts passwords in the texts of an event, such as those of an exception."""
    if _materialization_of(entry) is not None:
        return entry  # its metadata, with plots, is the platform's own
    text = serialize_value(entry)
    if redact(text) == text:
        return entry
    return deserialize_value(json.dumps(_redacted_values(json.loads(text))), EventLogEntry)


def _redacted_values(value: object) -> Any:
    """JSON values with every text redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted_values(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _redacted_values(inner) for key, inner in value.items()}
    return value


def _materialization_of(entry: EventLogEntry) -> AssetMaterialization | None:
    """The materialization that an event reports; None: it reports something else."""
    dagster_event = entry.dagster_event
    if dagster_event is None or not dagster_event.is_step_materialization:
        return None
    return dagster_event.step_materialization_data.materialization
