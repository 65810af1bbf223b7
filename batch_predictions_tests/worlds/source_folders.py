"""A folder of files as a source, and a home to ingest it into."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources.base import Source
from batch_predictions.sources.ingest import IngestResult, ingest
from batch_predictions.sources.source_registry import source_of
from batch_predictions.tables import INTERACTIONS, Table
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home_state import STATE

FIRST_DAY, DEFAULT_DATE = STATE.first_day, STATE.default_date
HEADER = "user_id,item_id,occurred_at,amount\n"


def day_keys(number: int, first_day: dt.date = FIRST_DAY) -> list[str]:
    """Partition keys of consecutive days."""
    return [(first_day + dt.timedelta(days=n)).isoformat() for n in range(number)]


class SourceHome:
    """The settings of a source, and a home that began on FIRST_DAY to ingest it into."""

    def __init__(self, tmp_path: Path, **options: Any) -> None:
        self.settings = Settings(home=tmp_path / "home", source=SourceSettings(**options))
        self.warehouse = Warehouse.of(self.settings)
        timezone = options.get("timezone") or "UTC"
        self.state = STATE.model_copy(update={"source_kind": options["kind"], "timezone": timezone})

    @property
    def source(self) -> Source:
        """A new adapter, which sees the source as it is now."""
        return source_of(self.settings, self.state)

    def ingest(
        self, table: Table = INTERACTIONS, days: Sequence[str] | None = None
    ) -> dict[str, IngestResult]:
        """Ingests days of a table, by default the first ten."""
        return ingest(self.warehouse, self.source, table, days or day_keys(10), self.state)

    def rows(self, sql: str = "from raw.interactions order by all") -> list[dict[str, Any]]:
        """The rows of a query over the warehouse."""
        return self.warehouse.query(sql).to_pylist()


class SourceFolder(SourceHome):
    """A folder of files as the source of a home."""

    def __init__(self, tmp_path: Path, **options: Any) -> None:
        self.folder = tmp_path / "source"
        self.folder.mkdir(exist_ok=True)
        super().__init__(tmp_path, **{"kind": "files", "path": self.folder, **options})

    def write(self, name: str, content: str | bytes) -> SourceFolder:
        """Writes a file of the source; returns itself."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self

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
