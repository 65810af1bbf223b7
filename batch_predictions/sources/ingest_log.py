"""What was ingested from which state of the source: `<home>/ingests/<table>.json`.

It is kept beside the warehouse and not in the Parquet files: there a source whose files were
touched would make every unchanged partition look changed.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from batch_predictions.home import atomic_write
from batch_predictions.tables import Table


class IngestLogEntry(BaseModel):
    """One ingest of a day or week."""

    fingerprint: str
    read: int
    accepted: int
    quarantined: int


class IngestLog(BaseModel):
    """The ingests of a table by day or week; of a snapshot, also the newest day it was read for."""

    days: dict[str, IngestLogEntry] = {}
    as_of: str | None = None


def read_ingest_log(home: Path, table: Table) -> IngestLog:
    """The ledger of a table; empty before its first ingest."""
    path = _path(home, table)
    if not path.exists():
        return IngestLog()
    return IngestLog.model_validate(json.loads(path.read_text(encoding="utf-8")))


@contextmanager
def update_ingest_log(home: Path, table: Table) -> Iterator[IngestLog]:
    """The ledger, held against other processes, written when the block ends without an error."""
    path = _path(home, table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ledger = read_ingest_log(home, table)
        yield ledger
        ledger.days = dict(sorted(ledger.days.items()))
        atomic_write(path, ledger.model_dump_json(indent=1))


def _path(home: Path, table: Table) -> Path:
    return home / "ingests" / f"{table.name}.json"
