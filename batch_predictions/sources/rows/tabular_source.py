"""The base class of adapters whose tables are rows with named columns, such as files."""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import duckdb

from batch_predictions.core.home import State
from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import MAX_DATE, Source, SourceError
from batch_predictions.sources.rows.file_rows import FileRows
from batch_predictions.sources.rows.row_days import (
    count_row_days,
    group_day_range,
    most_frequent_problem,
)
from batch_predictions.sources.rows.row_groups import RowGroup, group_rows_sql
from batch_predictions.sources.rows.sandbox import as_source_errors, connect_memory
from batch_predictions.sources.rows.spans import LaterRows, Span, last_sunday_before, sum_later_rows
from batch_predictions.sources.validation.column_formats import validate_formats
from batch_predictions.sources.validation.plausible_days import CountedDays, first_plausible_day
from batch_predictions.sources.validation.timestamps import DayRules
from batch_predictions.sources.validation.value_maps import validate_values
from batch_predictions.tables import Table
from batch_predictions.warehouse.path_sql import quote_identifier

UNDATED_SAMPLE_ROWS = 10_000
"""Rows that are read to say why no row has a day."""


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
        """The days from the first readable one that is not far before the others, without an end.

        Raises:
            SourceError: no row has a readable day.
        """
        default_date = self.settings.default_date or last_sunday_before(today)
        tables = self._daily_tables()
        days = [self.find_first_day(table, default_date) for table in tables]
        readable = [day for day in days if day]
        if not readable:
            problems = [self._describe_undated(table, default_date) for table in tables]
            raise SourceError("; ".join(problems))
        return Span(min(readable), None, default_date)

    def newest_complete_day(self, today: dt.date) -> dt.date:
        """Yesterday if there are rows of it or of today, else the newest readable day before."""
        default_date = self.state.default_date
        # Rows of days to come do not tell that the source goes on: their dates may be wrong.
        ranges = [self.find_day_range(t, default_date, today) for t in self._daily_tables()]
        newest_days = [day_range[1] for day_range in ranges if day_range]
        return min(max(newest_days, default=default_date), today - dt.timedelta(days=1))

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
        rules = replace(rules, last_day_over=self._last_day_over(table))
        return group_rows_sql(db, table, groups, rules, days)

    def _last_day_over(self, table: Table) -> dt.date | None:
        """`DayRules.last_day_over` of a table."""
        return None

    def _daily_tables(self) -> list[Table]:
        """The tables that determine the days of the source; weekly ones are known ahead."""
        return [table for table in self.tables() if table.partition == "date"]

    def find_first_day(self, table: Table, default_date: dt.date) -> dt.date | None:
        """The first day of a daily table for a new home; None if no row has a readable day.

        Args:
            table: a daily table.
            default_date: day of rows without a time.
        """
        if self.settings.earliest is None:
            return self.find_plausible_first_day(table, default_date)
        day_range = self.find_day_range(table, default_date)
        return day_range[0] if day_range else None

    def find_plausible_first_day(self, table: Table, default_date: dt.date) -> dt.date | None:
        """The first readable day that is not far before the others; see `find_first_day`."""
        return first_plausible_day(CountedDays(self.count_days(table, default_date)))

    def find_day_range(
        self, table: Table, default_date: dt.date, through: dt.date = MAX_DATE
    ) -> tuple[dt.date, dt.date] | None:
        """First and newest readable day of a table; None if no row has one.

        Args:
            table: a daily or weekly table.
            default_date: day of rows without a time.
            through: rows of later days do not count.
        """
        # Only the time columns are scanned: a small connection is enough.
        with as_source_errors(table.name), connect_memory() as db:
            groups = self.row_groups(db, table, None)
            rules = self.day_rules(default_date, dt.date.min)
            return group_day_range(db, table, groups, rules, through)

    def later_rows(self, table: Table, last: dt.date) -> LaterRows | None:
        """Rows of the partitions of a daily table after a day."""
        with as_source_errors(table.name), connect_memory() as db:
            rows = self.rows_sql(db, table, None)
            columns = {column[0] for column in db.execute(f"describe {rows}").fetchall()}
            kept = "not left_out" if "left_out" in columns else "true"
            query = f"select date, count(*) from ({rows}) where {kept} group by date"
            return sum_later_rows(dict(db.execute(query).fetchall()), last)

    def count_days(self, table: Table, default_date: dt.date) -> dict[dt.date, int]:
        """Rows of a daily table by readable day, without those that a condition leaves out."""
        with as_source_errors(table.name), connect_memory() as db:
            groups = self.row_groups(db, table, None)
            return count_row_days(db, table, groups, self.day_rules(default_date, dt.date.min))

    def _describe_undated(self, table: Table, default_date: dt.date) -> str:
        """Describes why no row of a daily table has a readable day."""
        with as_source_errors(table.name), connect_memory() as db:
            groups = self.row_groups(db, table, UNDATED_SAMPLE_ROWS)
            rules = self.day_rules(default_date, dt.date.min)
            rows, problem = most_frequent_problem(db, table, groups, rules)
        if not rows:
            return f"{table.name} has no rows yet: run again when there are some"
        return f"no row of {table.name} has a readable day: {problem} (and {rows - 1:,} more rows)"

    def day_rules(self, default_date: dt.date, first_day: dt.date) -> DayRules:
        """The rules by which rows get their day, in a home that begins on `first_day`."""
        return DayRules(
            self.timezone,
            self.settings.earliest_day,
            first_day,
            default_date,
            naive_zone=self.naive_zone,
        )


def column_texts(db: duckdb.DuckDBPyConnection, rows: FileRows) -> dict[str, list[str]]:
    """Columns of rows with their texts, without empty ones; see `Source.preview`."""
    if not rows.types:
        return {}
    names = {name: quote_identifier(name) for name in rows.types}
    texts = ", ".join(
        f"list(nullif(trim({name}::VARCHAR), '')) as {name}" for name in names.values()
    )
    [lists] = db.execute(f"select {texts} from {rows.relation}").fetchall()
    return {
        name: [text for text in values or () if text is not None]
        for name, values in zip(names, lists, strict=True)
    }
