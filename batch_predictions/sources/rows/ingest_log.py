"""The log of ingests, with the fingerprint of the source: `<home>/ingests/<table>.json`.

It is not part of the Parquet files: with a new fingerprint in them, partitions with equal rows
would look changed.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.home import HomeError
from batch_predictions.tables import Table


class IngestLogError(HomeError):
    """The log of a table cannot be read.

    Attributes:
        path: its file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} cannot be read: `batch-predictions doctor --repair` moves it aside, and the "
            "next run reads the table again"
        )
        self.path = path


class IngestLogEntry(BaseModel):
    """The newest ingest of a partition: fingerprint of the source, counts, hash of settings."""

    fingerprint: str
    read: int
    accepted: int
    quarantined: int
    nulled: dict[str, int] = {}
    filtered: int = 0
    deduplicated: int = 0
    merged: int = 0
    settings: str = ""


class KeptPartition(BaseModel):
    """A partition that is kept although the source has other rows now.

    Attributes:
        fingerprint: of the source for which it is kept; with another one, it is read again.
        rows: its rows.
        found: valid rows of the source.
        reason: lost: the source has fewer rows; gone: it no longer has the day; undone: a person
            undid the ingest of the source's rows.
    """

    fingerprint: str
    rows: int
    found: int
    reason: Literal["lost", "gone", "undone"] = "lost"


class Comparison(BaseModel):
    """The newest comparison of ingested partitions with the source.

    Attributes:
        newest: newest day of the runs that compared.
        full: newest day of the last run that compared all partitions.
        settings: fingerprint of the settings then.
    """

    newest: dt.date
    full: dt.date
    settings: str


class IngestLog(BaseModel):
    """The ingests of a table.

    Attributes:
        days: entries by partition; of a snapshot, by the day as of which it was read.
        as_of: the newest day of a snapshot.
        comparison: the last comparison, if the source does not compare all partitions each time.
        changed: partitions that a comparison found changed and that are not ingested again yet.
        kept: partitions whose rows in the source are not taken.
        replaceable: partitions that a person lets go.
        previous: by partition, the ingest before the newest one, which can be undone.
        aliases: present id by alias of merged users, by which partitions were ingested.
        merged: partitions with rows of users whose aliases have changed since.
    """

    days: dict[str, IngestLogEntry] = {}
    as_of: str | None = None
    comparison: Comparison | None = None
    changed: list[str] = []
    kept: dict[str, KeptPartition] = {}
    replaceable: list[str] = []
    previous: dict[str, IngestLogEntry] = {}
    aliases: dict[str, str] = {}
    merged: list[str] = []

    def record(self, written: Sequence[str], kept: Mapping[str, KeptPartition]) -> None:
        """Records which partitions an ingest has written, and which it has kept."""
        done = {*written, *kept}
        self.kept = {k: v for k, v in self.kept.items() if k not in done} | dict(kept)
        self.replaceable = [key for key in self.replaceable if key not in written]
        self.changed = [key for key in self.changed if key not in done]
        self.merged = [key for key in self.merged if key not in done]


def read_ingest_log(home: Path, table: Table) -> IngestLog:
    """The log of a table; empty before its first ingest.

    Raises:
        IngestLogError: the file cannot be read.
    """
    path = _path(home, table)
    if not path.exists():
        return IngestLog()
    try:
        return IngestLog.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise IngestLogError(path) from error


@contextmanager
def update_ingest_log(home: Path, table: Table) -> Iterator[IngestLog]:
    """The log of a table, locked; it is written when the block ends without an error."""
    path = _path(home, table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(path.with_suffix(".lock")):
        log = read_ingest_log(home, table)
        yield log
        log.days = dict(sorted(log.days.items()))
        atomic_write(path, log.model_dump_json(indent=1))


def _path(home: Path, table: Table) -> Path:
    return home / "ingests" / f"{table.name}.json"
