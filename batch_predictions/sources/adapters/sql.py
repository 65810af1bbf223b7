"""A database by its URL: tables, views or queries whose columns settings map to the raw tables.

Rows are read by day in a read-only transaction that sees one snapshot, copied as Arrow batches to
temporary Parquet files, and validated like the rows of files.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import ClassVar, TypeVar

import duckdb

from batch_predictions.core.home import State
from batch_predictions.settings import DuckDBSettings, SourceSettings
from batch_predictions.sources.base import (
    ABSENT_FINGERPRINT,
    MAX_DATE,
    RAW_TABLES,
    ComparisonWindow,
    SourceError,
)
from batch_predictions.sources.databases.connection import DatabaseUrl
from batch_predictions.sources.databases.database_table import DatabaseTable
from batch_predictions.sources.databases.day_groups import (
    comparable_kind,
    day_counts,
    rows_of_days,
    with_read_day,
)
from batch_predictions.sources.databases.dialects import relations_of
from batch_predictions.sources.databases.table_copies import RowCopy
from batch_predictions.sources.rows.file_rows import FileRows
from batch_predictions.sources.rows.fingerprints import hash_json
from batch_predictions.sources.rows.row_filters import mapped_column_sql
from batch_predictions.sources.rows.row_groups import (
    Interpretation,
    RowGroup,
    group_rows_sql,
    interpret_rows,
)
from batch_predictions.sources.rows.sandbox import connect_memory
from batch_predictions.sources.rows.spans import LaterRows, group_days
from batch_predictions.sources.rows.tabular_source import TabularSource, column_texts
from batch_predictions.sources.validation.column_mapping import validate_mapping
from batch_predictions.sources.validation.plausible_days import DayCounts, first_plausible_day
from batch_predictions.sources.validation.timestamps import DayRules
from batch_predictions.tables import Table

Answer = TypeVar("Answer")

ROWS_PER_READ = 1_000_000
"""About how many rows are validated together; bounds the memory."""


class SqlSource(TabularSource):
    """Tables, views or queries of the database `source.url`."""

    kind: ClassVar[str] = "sql"

    def __init__(self, settings: SourceSettings, state: State | None) -> None:
        super().__init__(settings, state)
        validate_mapping(settings.columns)
        self._relations = relations_of(settings)
        self._open_copies: dict[str, RowCopy] = {}

    # --- what the source has --------------------------------------------------------------------

    def tables(self) -> tuple[Table, ...]:
        """The raw tables of `source.tables` and `source.queries`.

        Raises:
            SourceError: there are neither interactions nor reviews, or there is no valid URL.
        """
        if not {"interactions", "reviews"} & set(self._relations):
            raise SourceError(
                "source.kind is sql: set source.tables to your tables, such as {interactions: "
                "shop.order_lines}; at least interactions or reviews"
            )
        return tuple(table for table in RAW_TABLES if table.name in self._database_tables)

    def location(self) -> str | None:
        """The database without user and password."""
        return self._url.location

    def file_names(self, table: Table) -> list[str]:
        """The name of the table, or `query …`."""
        relation = self._relations.get(table.name)
        return [relation.name] if relation else []

    def column_mapping(self, table: Table) -> dict[str, str]:
        """Column of the raw table to column of the database."""
        return self._database_tables[table.name].mapping

    def guesses_ids(self, table: Table) -> bool:
        """Returns whether a column is the id of events by a synonym alone."""
        return self._database_tables[table.name].guesses_id

    def unused_columns(self, table: Table) -> list[str]:
        """Columns of the database that are not read."""
        database_table = self._database_tables[table.name]
        return [n for n in database_table.columns if n not in database_table.columns_to_read]

    def preview(self, name: str, rows: int) -> dict[str, list[str]]:
        """Columns of a table or query with their texts, without empty ones."""
        tables = {table.name: table for table in RAW_TABLES}
        for table_name, relation in self._relations.items():
            if relation.name == name:
                with self._small_duckdb(self._temporary_folder) as db:
                    [group] = self.row_groups(db, tables[table_name], rows)
                    return column_texts(db, group.rows)
        return {}

    @cached_property
    def _url(self) -> DatabaseUrl:
        url = self.settings.url
        if url is None:
            raise SourceError(
                "source.kind is sql: set the environment variable BATCH_PREDICTIONS_SOURCE__URL to "
                "the URL of the database, such as postgresql://user:password@host/database"
            )
        return DatabaseUrl.parse(url.get_secret_value())

    @cached_property
    def _database_tables(self) -> dict[str, DatabaseTable]:
        tables = {table.name: table for table in RAW_TABLES}
        return {
            name: DatabaseTable(tables[name], relation, self._url, self)
            for name, relation in self._relations.items()
        }

    # --- days and changes -----------------------------------------------------------------------

    def find_day_range(
        self, table: Table, default_date: dt.date, through: dt.date = MAX_DATE
    ) -> tuple[dt.date, dt.date] | None:
        """First and newest readable day, from the database if it can tell."""
        answers = self._ask_days(table, lambda days: days.span(dt.date.min, through))
        return answers[0] if answers else super().find_day_range(table, default_date, through)

    def find_plausible_first_day(self, table: Table, default_date: dt.date) -> dt.date | None:
        """The first readable day that is not far before the others."""
        answers = self._ask_days(table, first_plausible_day)
        return answers[0] if answers else super().find_plausible_first_day(table, default_date)

    def later_rows(self, table: Table, last: dt.date) -> LaterRows | None:
        """Readable rows of a daily table after a day."""

        def read(days: DayCounts) -> LaterRows | None:
            later = days.span(last + dt.timedelta(days=1), dt.date.max)
            return LaterRows(days.rows(*later), *later) if later else None

        answers = self._ask_days(table, read)
        return answers[0] if answers else super().later_rows(table, last)

    def _ask_days(self, table: Table, read: Callable[[DayCounts], Answer]) -> list[Answer]:
        """Applies a function to a table's rows by day; empty if the days cannot be told."""
        database_table = self._database_tables[table.name]
        return database_table.read_days(read) if database_table.has_days else []

    def day_rules(self, default_date: dt.date, first_day: dt.date) -> DayRules:
        """The rules by which rows get their business day, in a home that begins on `first_day`."""
        # A fixed day, so that rows without a day are counted once, however days are read.
        return DayRules(
            self.timezone,
            self.settings.earliest_day,
            first_day,
            default_date,
            undated_day=first_day,
            naive_zone=self.naive_zone,
        )

    def fingerprint(self, table: Table) -> str:
        """A hash of the settings that concern the table, and of aggregates of all its rows."""
        if table.name not in self._relations:
            return ABSENT_FINGERPRINT
        return self._database_tables[table.name].fingerprint()

    def day_fingerprints(self, table: Table, days: Sequence[str]) -> dict[str, str]:
        """Hashes the settings and the aggregates of each day's rows.

        If the database cannot tell the days, all days have the table's fingerprint. A snapshot
        without `source.updated_at` is read on every day.
        """
        if table.name not in self._relations:
            return dict.fromkeys(days, ABSENT_FINGERPRINT)
        database_table = self._database_tables[table.name]
        if database_table.has_days:
            return database_table.day_fingerprints(days, self.state.first_day)
        fingerprint = database_table.fingerprint()
        if table.partition or database_table.updated_at:
            return dict.fromkeys(days, fingerprint)
        return {day: hash_json([fingerprint, day]) for day in days}

    def comparison_window(self, table: Table) -> ComparisonWindow | None:
        """Days to compare by the settings; None if the database cannot tell the days."""
        if table.name not in self._relations or not self._database_tables[table.name].has_days:
            return None
        return ComparisonWindow(
            self.settings.late_days,
            self.settings.reconcile_days,
            self._database_tables[table.name].settings_fingerprint(),
        )

    def always_compared(self, table: Table) -> Sequence[str]:
        """The home's first day, whose partition has the rows without a plausible day."""
        return (str(self.state.first_day),)

    # --- rows -----------------------------------------------------------------------------------

    @contextmanager
    def open_partitions(
        self, table: Table, days: Sequence[str], folder: Path
    ) -> Iterator[list[Sequence[str]]]:
        """Copies the rows of all days in one snapshot, and yields groups of days."""
        copy = self._copy(table, days, None, folder)
        self._open_copies[table.name] = copy
        try:
            if table.partition != "date":
                with super().open_partitions(table, days, folder) as groups:
                    yield groups
            elif copy.rows <= ROWS_PER_READ:
                yield [days]
            else:
                with self._small_duckdb(folder) as db:
                    group = self._row_group(db, table, copy.file_rows(is_numbered=False))
                    counts = day_counts(db, table, copy, group.columns, self._rules)
                yield group_days(days, counts, ROWS_PER_READ)
        finally:
            del self._open_copies[table.name]

    def rows_sql(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        days: Sequence[str] | None,
        limit: int | None = None,
    ) -> str:
        """A query for the rows of a copy, which is made now unless `open_partitions` has."""
        copy = self._open_copies.get(table.name)
        if copy is None:
            copy = self._copy(table, days, limit, self._temporary_folder)
        rows = copy.file_rows()
        if table.partition == "date":
            time_name = self._database_tables[table.name].time_name
            rows = rows_of_days(copy, time_name, self._rules, days)
        return group_rows_sql(db, table, [self._row_group(db, table, rows)], self._rules, days)

    def row_groups(
        self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None
    ) -> list[RowGroup]:
        """The rows of a table, copied now."""
        copy = self._database_tables[table.name].copy(
            None, dt.date.min, limit, self._new_folder(table, self._temporary_folder)
        )
        return [self._row_group(db, table, copy.file_rows())]

    @property
    def _rules(self) -> DayRules:
        return self.day_rules(self.state.default_date, self.state.first_day)

    @property
    def _temporary_folder(self) -> Path:
        """Folder of copies outside of `open_partitions`; it is removed with this object."""
        return Path(self._temporary.name)

    @cached_property
    def _temporary(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="batch-predictions-", ignore_cleanup_errors=True)

    def _new_folder(self, table: Table, folder: Path) -> Path:
        return folder / f"{table.name}-{len(list(folder.iterdir()))}"

    def _row_group(self, db: duckdb.DuckDBPyConnection, table: Table, rows: FileRows) -> RowGroup:
        """Rows with the SQL of their columns; the database has applied `source.where`."""
        columns = mapped_column_sql(table, self.column_mapping(table), rows.types)
        formats = self.settings.formats.get(table.name, {})
        values = self.settings.values.get(table.name, {})
        return interpret_rows(db, table, rows, columns, Interpretation(formats, values))

    def _copy(
        self, table: Table, days: Sequence[str] | None, limit: int | None, folder: Path
    ) -> RowCopy:
        """Copies rows that include those of the days."""
        database_table = self._database_tables[table.name]
        target = self._new_folder(table, folder)
        copy = database_table.copy(days, self.state.first_day, limit, target)
        column = database_table.time_name
        if table.partition != "date" or column is None or comparable_kind(copy, column):
            return copy
        with self._small_duckdb(folder) as db:
            group = self._row_group(db, table, copy.file_rows(is_numbered=False))
            return with_read_day(db, table, copy, group.columns, self._rules, target / "dated")

    def _small_duckdb(self, folder: Path) -> duckdb.DuckDBPyConnection:
        return connect_memory(DuckDBSettings(memory_limit="512MB", threads=2), folder / "spill")
