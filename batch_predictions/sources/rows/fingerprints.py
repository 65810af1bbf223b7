"""Hashes that change when the rows of a table, or the way they are read, have changed."""

from __future__ import annotations

import hashlib
import json

from batch_predictions.sources.base import Source
from batch_predictions.tables import INTERACTIONS, Table


def reading_settings(source: Source, table: Table) -> list[object]:
    """The settings that decide how a table is read, in values of JSON.

    Settings without a value are left out, so that a new one does not change other homes.
    """
    settings = source.settings
    hashed: list[object] = [
        source.kind,
        source.timezone,
        str(settings.earliest_day),
        sorted(settings.columns.get(table.name, {}).items()),
    ]
    if formats := settings.formats.get(table.name):
        hashed.append(formats)
    if table == INTERACTIONS and settings.events:
        hashed.append(source.event_types.values_by_type())
    rule = settings.deduplicate.get(table.name)
    further: dict[str, object] = {
        "encoding": settings.encoding,
        "naive_zone": source.naive_zone if source.naive_zone != "UTC" else None,
        "values": settings.values.get(table.name),
        "ids": {name: rule.model_dump() for name, rule in sorted(settings.ids.items())},
        "where": settings.where.get(table.name),
        "deduplicate": rule.model_dump() if rule else None,
        "query": settings.queries.get(table.name),
        "files": [entry.model_dump() for entry in settings.files.get(table.name, ())],
    }
    return [*hashed, *([name, value] for name, value in further.items() if value)]


def settings_hash(source: Source, table: Table) -> str:
    """A hash of the settings that decide how a table is read."""
    return hash_json(reading_settings(source, table))


def hash_json(value: object) -> str:
    """A short hash of values of JSON; others count as their text."""
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:32]
