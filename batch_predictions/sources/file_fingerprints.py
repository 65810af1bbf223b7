"""Hashes that change when the files of a table, or the way they are read, have changed."""

from __future__ import annotations

import hashlib
import json

from batch_predictions.settings import SourceSettings
from batch_predictions.tables import INTERACTIONS, Table


def reading_settings(
    kind: str, timezone: str, settings: SourceSettings, table: Table
) -> list[object]:
    """The settings that decide how the files of a table are read, in values of JSON.

    Settings without a value are left out, so that a new one does not change other homes.
    """
    hashed: list[object] = [
        kind,
        timezone,
        str(settings.earliest),
        sorted(settings.columns.get(table.name, {}).items()),
    ]
    if formats := settings.formats.get(table.name):
        hashed.append(formats)
    rule = settings.deduplicate.get(table.name)
    further: dict[str, object] = {
        "values": settings.values.get(table.name),
        "ids": {name: rule.model_dump() for name, rule in sorted(settings.ids.items())},
        "where": settings.where.get(table.name),
        "deduplicate": rule.model_dump() if rule else None,
        "query": settings.queries.get(table.name),
        "events": {name: sorted(type_.values) for name, type_ in sorted(settings.events.items())}
        if table == INTERACTIONS
        else None,
    }
    return [*hashed, *([name, value] for name, value in further.items() if value)]


def hash_json(value: object) -> str:
    """A short hash of values of JSON."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]
