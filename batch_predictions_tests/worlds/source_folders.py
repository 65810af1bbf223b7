"""Folders of files for tests: written in a line, ingested in another."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batch_predictions.home import State
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources import Source, source_of
from batch_predictions.sources.ingest import IngestResult, ingest
from batch_predictions.tables import INTERACTIONS, Table
from batch_predictions.warehouse import Warehouse

FIRST = dt.date(2024, 1, 1)
HEADER = "user_id,item_id,occurred_at,amount\n"


def days(n: int, first: dt.date = FIRST) -> list[str]:
    """Partition keys of n days."""
    return [(first + dt.timedelta(days=each)).isoformat() for each in range(n)]


def state(timezone: str = "UTC", kind: str = "files", **more: Any) -> State:
    """A home that began on 1 January 2024; rows without time belong to the 7th."""
    given: dict[str, Any] = {"first_day": FIRST, "default_date": dt.date(2024, 1, 7), **more}
    return State(source_kind=kind, timezone=timezone, **given)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    """Writes a file of the source."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


class World:
    """A folder as a source, and a home to ingest it into."""

    def __init__(self, tmp_path: Path, **source: Any) -> None:
        self.folder = tmp_path / "source"
        self.folder.mkdir(exist_ok=True)
        source = {"kind": "files", "path": self.folder, **source}
        self.settings = Settings(home=tmp_path / "home", source=SourceSettings(**source))
        self.warehouse = Warehouse.of(self.settings)
        self.state = state(source.get("timezone") or "UTC", source["kind"])

    @property
    def source(self) -> Source:
        """The adapter, made anew so that it sees the files as they are."""
        return source_of(self.settings.source, self.state)

    def write(self, name: str, content: str | bytes) -> World:
        """Writes a file of the source; returns itself."""
        write(self.folder, name, content)
        return self

    def ingest(
        self, table: Table = INTERACTIONS, keys: Sequence[str] | None = None
    ) -> dict[str, IngestResult]:
        """Ingests days of a table, the first ten unless told otherwise."""
        return ingest(self.warehouse, self.source, table, keys or days(10), self.state)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query."""
        return self.warehouse.query(sql).to_pylist()

    def reasons(self) -> list[str]:
        """Reasons in quarantine, in the order of rows."""
        return [row["reason"] for row in self.rows("from raw.quarantine order by row_number")]


def totals(ingested: dict[str, IngestResult]) -> tuple[int, int, int]:
    """Rows read, accepted and quarantined over all days; nothing may be lost."""
    counts = [each.counts for each in ingested.values()]
    read = sum(each.read for each in counts)
    accepted = sum(each.accepted for each in counts)
    quarantined = sum(each.quarantined for each in counts)
    assert read == accepted + quarantined
    return read, accepted, quarantined
