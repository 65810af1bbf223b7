"""Rows and hashes of drafts that were made before, by the fingerprint of what they were made of.

A publish whose drafts are known, and whose release is in the store, need not make them again. The
file `<home>/warehouse/.draft_records.json` has nothing but numbers and hashes, and can be removed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from batch_predictions.core.durability import atomic_write
from batch_predictions.warehouse import Warehouse

FILE_NAME = ".draft_records.json"
MAX_RECORDS = 64


@dataclass(frozen=True)
class DraftRecord:
    """A draft: its rows, and the SHA-256 of its file."""

    rows: int
    sha256: str


def find(warehouse: Warehouse, fingerprint: str) -> DraftRecord | None:
    """The draft that was made of the same before; None: none, or it is not known any more."""
    return _read(warehouse).get(fingerprint)


def remember(warehouse: Warehouse, fingerprint: str, record: DraftRecord) -> None:
    """Adds a record of a draft, and removes the oldest beyond a number."""
    records = _read(warehouse)
    # One that another process writes meanwhile would only be made again.
    records.pop(fingerprint, None)
    records[fingerprint] = record
    newest = dict(list(records.items())[-MAX_RECORDS:])
    text = json.dumps({key: asdict(value) for key, value in newest.items()}, indent=1)
    atomic_write(warehouse.folder / FILE_NAME, text)


def _read(warehouse: Warehouse) -> dict[str, DraftRecord]:
    """The records, oldest first; none if the file cannot be read."""
    try:
        entries = json.loads((warehouse.folder / FILE_NAME).read_text(encoding="utf-8"))
        return {key: DraftRecord(**entry) for key, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
