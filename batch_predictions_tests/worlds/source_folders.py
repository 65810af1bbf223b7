"""A folder of files as a source, and a home to ingest it into."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batch_predictions.core.home import State
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources.base import Source
from batch_predictions.sources.ingest import IngestResult, ingest
from batch_predictions.sources.source_registry import source_of
from batch_predictions.tables import INTERACTIONS, Table
from batch_predictions.warehouse import Warehouse

FIRST_DAY = dt.date(2024, 1, 1)
DEFAULT_DATE = dt.date(2024, 1, 7)
"""Day of rows without a time."""
HEADER = "user_id,item_id,occurred_at,amount\n"


def day_keys(number: int, first_day: dt.date = FIRST_DAY) -> list[str]:
    """Partition keys of consecutive days."""
    return [(first_day + dt.timedelta(days=n)).isoformat() for n in range(number)]


class SourceFolder:
    """A folder of files, the settings of its source, and a home that began on FIRST_DAY."""

    def __init__(self, tmp_path: Path, **options: Any) -> None:
        self.folder = tmp_path / "source"
        self.folder.mkdir(exist_ok=True)
        options = {"kind": "files", "path": self.folder, **options}
        self.settings = Settings(home=tmp_path / "home", source=SourceSettings(**options))
        self.warehouse = Warehouse.of(self.settings)
        self.state = State(
            source_kind=options["kind"],
            timezone=options.get("timezone") or "UTC",
            first_day=FIRST_DAY,
            default_date=DEFAULT_DATE,
        )

    @property
    def source(self) -> Source:
        """A new adapter, which sees the files as they are now."""
        return source_of(self.settings, self.state)

    def write(self, name: str, content: str | bytes) -> SourceFolder:
        """Writes a file of the source; returns itself."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self

    def ingest(
        self, table: Table = INTERACTIONS, days: Sequence[str] | None = None
    ) -> dict[str, IngestResult]:
        """Ingests days of a table, by default the first ten."""
        return ingest(self.warehouse, self.source, table, days or day_keys(10), self.state)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query over the warehouse."""
        return self.warehouse.query(sql).to_pylist()

    def reasons(self) -> list[str]:
        """Reasons of the rows in the quarantine, by row number."""
        return [row["reason"] for row in self.rows("from raw.quarantine order by row_number")]


def total_counts(results: dict[str, IngestResult]) -> tuple[int, int, int]:
    """Rows read, accepted and quarantined over all days; asserts that they add up."""
    counts = [result.counts for result in results.values()]
    read = sum(day.read for day in counts)
    accepted = sum(day.accepted for day in counts)
    quarantined = sum(day.quarantined for day in counts)
    assert read == accepted + quarantined
    return read, accepted, quarantined
