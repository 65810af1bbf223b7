"""A home as of the day of its report."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from batch_predictions.core.home import read_state
from batch_predictions.operations.records import RunRecords
from batch_predictions.settings import Settings
from batch_predictions.sources.shrinkage import newest_ingested_day
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse


@dataclass(frozen=True)
class ReportHome:
    """A home, and the day that a report on it ends with.

    Attributes:
        settings: of the home, whose declarations are loaded.
        day: last day that the report has.
        with_ids: whether users have their ids; else they are numbered.
        records: Dagster's, which the page Operations shows.
    """

    settings: Settings
    day: dt.date
    with_ids: bool = False
    records: RunRecords | None = None

    @property
    def is_newest(self) -> bool:
        """Returns whether no later day has rows."""
        return self.day == newest_ingested_day(self.settings.home)

    @property
    def first_day(self) -> dt.date | None:
        """First day of the source; None before the first run."""
        state = read_state(self.settings.home)
        return state.first_day if state else None

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse of the home."""
        return Warehouse.of(self.settings)

    def partitions(self, table: Table) -> list[str]:
        """Keys of the partitions of a table up to the day, oldest first."""
        return [key for key in self.warehouse.partitions(table) if key <= str(self.day)]

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query, in which `$day` may be bound."""
        bound = {"day": self.day} if "$day" in sql else {}
        rows: list[dict[str, Any]] = self.warehouse.query(sql, {**bound, **parameters}).to_pylist()
        return rows
