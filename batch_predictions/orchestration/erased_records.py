"""Removes users from Dagster's records in the home: previews, lines of logs, captured output.

They have ids only if `execution.show_identifiers` is, or was, set. Storage that
`execution.instance` configures elsewhere is not touched.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import deserialize_value, serialize_value

from batch_predictions.core.erasures import ErasedUsers
from batch_predictions.operations.erasure.home_files import remove_if_mentioned

_TEXTS = {"event_logs": "event", "asset_keys": "last_materialization"}
"""Tables of Dagster's event log, and their columns with serialized events."""
_MATERIALIZATIONS = ("ASSET_MATERIALIZATION", "ASSET_OBSERVATION")


def erase_from_records(home: Path, users: ErasedUsers) -> int:
    """Removes users from Dagster's SQLite files and captured output. Returns what was changed."""
    changed = 0
    for path in sorted((home / "dagster").rglob("*.db")):
        with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as db:
            rows = _erase_from_database(db, users)
            if rows:
                db.execute("vacuum")
                db.execute("pragma wal_checkpoint(truncate)").fetchall()
            changed += rows
    for path in sorted((home / "dagster").rglob("compute_logs/*")):
        changed += remove_if_mentioned(path, users)
    return changed


def _erase_from_database(db: sqlite3.Connection, users: ErasedUsers) -> int:
    """Removes previews and lines with an id. Returns the number of rows."""
    db.execute("pragma secure_delete = on")
    tables = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
    changed = 0
    for table, column in _TEXTS.items():
        if table not in tables:
            continue
        for row_id, text in _events_with_words(db, table, column):
            new = without_user(text, users)
            if new == text:
                continue
            if new is None:
                db.execute(f"delete from {table} where rowid = ?", (row_id,))
            else:
                update = f"update {table} set {column} = ? where rowid = ?"
                db.execute(update, (new, row_id))
            changed += 1
    return changed


def _events_with_words(
    db: sqlite3.Connection, table: str, column: str
) -> Iterator[tuple[int, str]]:
    """Events that may have ids: lines of logs, and materializations with text."""
    query = f"select rowid, {column} from {table} where {column} is not null"
    yield from db.execute(query).fetchall()


def without_user(text: str, users: ErasedUsers) -> str | None:
    """Removes previews with an id from a serialized event; None: it is a log line with an id."""
    try:
        value: Any = deserialize_value(text)
    except Exception:  # Dagster's own error for what it cannot read has no public name.
        return text
    if isinstance(value, dg.EventLogRecord):
        entry = _without_user(value.event_log_entry, users)
        if entry is value.event_log_entry or entry is None:
            return text
        return serialize_value(value._replace(event_log_entry=entry))
    if isinstance(value, dg.AssetMaterialization):
        cleaned = _without_previews(value, users)
        return text if cleaned is value else serialize_value(cleaned)
    if not isinstance(value, dg.EventLogEntry):
        return text
    cleaned = _without_user(value, users)
    if cleaned is value:
        return text
    return None if cleaned is None else serialize_value(cleaned)


def _without_user(entry: dg.EventLogEntry, users: ErasedUsers) -> dg.EventLogEntry | None:
    """Removes previews with an id from an event; None: it is a log line with an id."""
    event = entry.dagster_event
    if event is None:
        return None if users.are_in_text(entry.user_message) else entry
    if event.event_type_value not in _MATERIALIZATIONS:
        return entry
    data: Any = event.event_specific_data
    name = "materialization" if hasattr(data, "materialization") else "asset_observation"
    old = getattr(data, name)
    cleaned = _without_previews(old, users)
    if cleaned is old:
        return entry
    event = event._replace(event_specific_data=data._replace(**{name: cleaned}))
    return entry._replace(dagster_event=event)


def _without_previews(record: Any, users: ErasedUsers) -> Any:
    """A materialization without Markdown and text that has the id of a user."""
    kept = {
        name: value
        for name, value in record.metadata.items()
        if not (
            isinstance(value, dg.MarkdownMetadataValue | dg.TextMetadataValue)
            and users.are_in_text(str(value.value))
        )
    }
    return record if len(kept) == len(record.metadata) else record._replace(metadata=kept)
