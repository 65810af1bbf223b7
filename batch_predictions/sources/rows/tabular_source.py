"""The base class of adapters whose tables are rows with named columns, such as files."""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from collections.abc import Sequence

import duckdb

from batch_predictions.home import State
from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import Source, Span, last_sunday_before
from batch_predictions.sources.memory_database import connect_memory
from batch_predictions.sources.rows.file_rows import FileRows
from batch_predictions.sources.rows.row_groups import RowGroup, group_day_range, group_rows_sql
from batch_predictions.sources.validation.column_formats import validate_formats
from batch_predictions.sources.validation.timestamps import DayRules
from batch_predictions.sources.validation.value_maps import validate_values
from batch_predictions.tables import Table
from batch_predictions.warehouse.sql_literals import quote_identifier


class TabularSource(Source):
    """Reads rows with named columns. An adapter implements `row_groups`.

    The days and weeks of rows are the same for all adapters.
    """

    def __init__(self, settings: SourceSettings, state: State | None) -> None:
        super().__init__(settings, state)
        validate_formats(settings.formats)
        validate_values(settings.values)

    @abstractmethod
    def row_groups(
        self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None
    ) -> list[RowGroup]:
        """The rows of a table by group of rows that are read in the same way.

        Args:
            db: connection in which the relations will be read.
            table: the raw table; the source has it.
            limit: about how many rows of each group to read; None: all.
        """

    def span(self, today: dt.date) -> Span:
        """From the oldest readable day, or the default date; without an end."""
        default_date = self.settings.default_date or last_sunday_before(today)
        ranges = [self.find_day_range(table, default_date) for table in self._daily_tables()]
        first_days = [day_range[0] for day_range in ranges if day_range]
        return Span(min(first_days, default=default_date), None, default_date)

    def newest_complete_day(self, today: dt.date) -> dt.date:
        """Yesterday, or the newest readable day if that is older."""
        ranges = [self.day_range(table) for table in self._daily_tables()]
        newest_days = [day_range[1] for day_range in ranges if day_range]
        newest_day = max(newest_days, default=self.state.default_date)
        return min(newest_day, today - dt.timedelta(days=1))

    def day_range(self, table: Table) -> tuple[dt.date, dt.date] | None:
        """First and newest readable day of a table."""
        return self.find_day_range(table, self.state.default_date)

    def rows_sql(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        days: Sequence[str] | None,
        limit: int | None = None,
    ) -> str:
        """A query for the rows of a table; see `Source.rows_sql`."""
        groups = self.row_groups(db, table, limit)
        rules = self.day_rules(self.state.default_date, self.state.first_day)
        return group_rows_sql(db, table, groups, rules, days)

    def _daily_tables(self) -> list[Table]:
        """The tables that determine the days of the source; weekly ones are known ahead."""
        return [table for table in self.tables() if table.partition == "date"]

    def find_day_range(self, table: Table, default_date: dt.date) -> tuple[dt.date, dt.date] | None:
        """First and newest readable day of a table.

        Args:
            table: a daily or weekly table.
            default_date: day of rows without a time.
        """
        # Only the time columns are scanned: a small connection is enough.
        with connect_memory() as db:
            groups = self.row_groups(db, table, None)
            return group_day_range(db, table, groups, self.day_rules(default_date, dt.date.min))

    def day_rules(self, default_date: dt.date, first_day: dt.date) -> DayRules:
        """How rows get their day, in a home that begins on `first_day`."""
        return DayRules(self.timezone, self.settings.earliest, first_day, default_date)


def column_texts(db: duckdb.DuckDBPyConnection, rows: FileRows) -> dict[str, list[str]]:
    """Columns of rows with their texts, without empty ones; see `Source.preview`."""
    names = {name: quote_identifier(name) for name in rows.types}
    texts = ", ".join(
        f"list(nullif(trim({name}::VARCHAR), '')) as {name}" for name in names.values()
    )
    [lists] = db.execute(f"select {texts} from {rows.relation}").fetchall()
    return {
        name: [text for text in values or () if text is not None]
        for name, values in zip(names, lists, strict=True)
    }
