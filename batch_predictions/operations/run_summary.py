"""The summary that a run prints, and that a run with nothing to do repeats."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from batch_predictions.tables import INTERACTIONS, REVIEWS, TABLES
from batch_predictions.tables.partitions import latest_ended_week
from batch_predictions.warehouse import Warehouse

EVENT_TABLES = (INTERACTIONS.name, REVIEWS.name)


@dataclass
class Summary:
    """The partitions, models and rows that a run made, skipped or failed to make.

    Attributes:
        home: the home folder.
        first_day: first day that was predicted.
        last_day: last day that was predicted.
        repaired: damaged files that were moved aside, and what became of their rows.
        ingested: days of interactions or reviews that are new or have changed.
        corrected: those of them that had been ingested before.
        stale: by table or model, partitions that were made from rows corrected since.
        trained: decisions of the trainings.
        rows: by prediction table, rows of the last day.
        skipped: predictions that the source has no data for, in words.
        failed: by table or model that could not be made, why, and what is served instead.
        left_out: rows, values, events and keys that are left out, in words.
        release_id: of the release that is served; None: none.
        unchanged: whether nothing was new, so that nothing was done.
        seconds: duration.
    """

    home: str
    first_day: str
    last_day: str
    repaired: list[str] = field(default_factory=list)
    ingested: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    stale: dict[str, list[str]] = field(default_factory=dict)
    trained: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    release_id: str | None = None
    unchanged: bool = False
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Returns the summary as a dictionary of JSON values."""
        return asdict(self)

    def add_ingested(
        self,
        before: Mapping[tuple[str, str], int],
        after: Mapping[tuple[str, str], int],
    ) -> None:
        """Adds the days of events that are new or have changed to the summary.

        Args:
            before: `partition_times` before the ingest.
            after: the same after it.
        """
        changed = {
            key
            for key, time_ in after.items()
            if time_ != before.get(key) and key[0] in EVENT_TABLES
        }
        self.ingested = sorted({day for _, day in changed})
        self.corrected = sorted({day for table, day in changed if (table, day) in before})


def count_rows(warehouse: Warehouse, day: dt.date, skipped: Collection[str]) -> dict[str, int]:
    """Counts the rows of every prediction table as of a day.

    Args:
        warehouse: of the home.
        day: the day; weekly tables are counted as of the newest week that had ended by then.
        skipped: names of tables to leave out.
    """
    counts = {}
    for table in TABLES.values():
        if table.name in skipped:
            continue
        if table.schema == "predictions" and table.is_periodic:
            key = day if table.partition == "date" else latest_ended_week(day)
            counts[table.name] = int(
                warehouse.value(
                    f"select count(*) from {table.qualified} where {table.partition} = $key",
                    {"key": key},
                )
            )
    return counts
