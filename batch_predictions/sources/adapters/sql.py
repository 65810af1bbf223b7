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

from batch_predictions.home import State
from batch_predictions.settings import SourceSettings
from batch_predictions.sources.adapters.files import MappedFilesSource
from batch_predictions.sources.base import (
    ABSENT_FINGERPRINT,
    MAX_DATE,
    RAW_TABLES,
    ComparisonWindow,
    SourceError,
)
from batch_predictions.sources.databases.aggregates import Aggregation, hash_texts, span_of_days
from batch_predictions.sources.databases.connection import DatabaseColumn, DatabaseConnection
from batch_predictions.sources.databases.copies import RowCopy, copy_rows
from batch_predictions.sources.databases.day_groups import (
    comparable_kind,
    day_counts,
    group_days,
    rows_of_days,
    with_read_day,
)
from batch_predictions.sources.databases.dialects import Dialect
from batch_predictions.sources.databases.factory import read_database
from batch_predictions.sources.databases.relations import relations_of
from batch_predictions.sources.databases.time_columns import TimeColumn, time_column
from batch_predictions.sources.databases.url import DatabaseUrl
from batch_predictions.sources.file_rows import FileRows
from batch_predictions.sources.validation.column_mapping import TIME_COLUMNS
from batch_predictions.sources.validation.timestamps import DayRules
from batch_predictions.tables import Table

ROWS_PER_READ = 1_000_000
"""About how many rows are validated together; bounds the memory."""

Result = TypeVar("Result")


class SqlSource(MappedFilesSource):
    """Tables, views or queries of the database `source.url`.

    Columns are mapped as those of files. The class inherits that mapping, and the reading of days
    and weeks; the rows come from copies of the database instead of files.
    """

    kind: ClassVar[str] = "sql"

    def __init__(self, settings: SourceSettings, state: State | None) -> None:
        super().__init__(settings, state)
        self._relations = relations_of(settings)
        self._columns: dict[str, dict[str, DatabaseColumn]] = {}
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
        assert self._url
        return tuple(table for table in RAW_TABLES if table.name in self._relations)

    def location(self) -> str | None:
        """The database without user and password."""
        return self._url.location

    def files(self, table: Table) -> list[Path]:
        """No files."""
        return []

    def file_names(self, table: Table) -> list[str]:
        """The name of the table, or `query …`."""
        relation = self._relations.get(table.name)
        return [relation.name] if relation else []

    def unread_files(self) -> list[str]:
        """No files."""
        return []

    def column_mapping(self, table: Table) -> dict[str, str]:
        """Column of the raw table to column of the database."""
        return self._match_columns(table, tuple(self._database_columns(table)))

    def unused_columns(self, table: Table) -> list[str]:
        """Columns of the database that are not matched; none for tables with `attributes`."""
        read = self._columns_to_read(table)
        updated_at = self.settings.updated_at.get(table.name)
        return [n for n in self._database_columns(table) if n not in read and n != updated_at]

    # --- days -----------------------------------------------------------------------------------

    def _day_range(self, table: Table, default_date: dt.date) -> tuple[dt.date, dt.date] | None:
        column = self._time_column_name(table)
        if table.partition != "date" or column is None:
            return super()._day_range(table, default_date)

        def read(connection: DatabaseConnection) -> tuple[bool, tuple[dt.date, dt.date] | None]:
            relation, time = self._relation(table, connection), self._time(table, connection)
            if time is None or connection.rows(
                f"select count(*) from {relation} where {time.unreadable()}"
            ) != [(0,)]:
                return False, None
            return True, span_of_days(connection, relation, time, self.settings.earliest)

        is_exact, day_range = self._read(f"reading the days of {self._name(table)}", read)
        return day_range if is_exact else super()._day_range(table, default_date)

    def _day_rules(self, default_date: dt.date, first_day: dt.date) -> DayRules:
        # A fixed day, so that rows without a day are counted once, however days are read.
        return DayRules(
            self.timezone, self.settings.earliest, first_day, default_date, undated_day=first_day
        )

    # --- changes --------------------------------------------------------------------------------

    def fingerprint(self, table: Table) -> str:
        """A hash of the settings that concern the table, and of aggregates of all its rows."""
        if table.name not in self._relations:
            return ABSENT_FINGERPRINT

        def read(connection: DatabaseConnection) -> list[str]:
            return self._aggregation(table, connection).of_table(connection)

        aggregates = self._read(f"comparing {self._name(table)}", read)
        return hash_texts([self._settings_fingerprint(table), aggregates])

    def day_fingerprints(self, table: Table, days: Sequence[str]) -> dict[str, str]:
        """For each day, a hash of the settings and of aggregates of the day's rows.

        Where the database cannot tell the days, all days have the table's fingerprint. A snapshot
        without `source.updated_at` is read on every day.
        """
        if table.name not in self._relations or not days:
            return dict.fromkeys(days, ABSENT_FINGERPRINT)
        if not table.partition and table.name not in self.settings.updated_at:
            return {day: hash_texts([self.fingerprint(table), day]) for day in days}
        if not self._has_days(table):
            return dict.fromkeys(days, self.fingerprint(table))
        first_day = self.state.first_day
        settings = self._settings_fingerprint(table)

        def read(connection: DatabaseConnection) -> dict[str, list[object]]:
            aggregation, time = self._aggregation(table, connection), self._time(table, connection)
            assert time is not None
            dates = sorted({dt.date.fromisoformat(day) for day in days})
            by_day = aggregation.by_day(connection, time, dates)
            values: dict[str, list[object]] = {
                day: [by_day.get(dt.date.fromisoformat(day)), by_day.get(None)] for day in days
            }
            if str(first_day) in values:
                condition = time.outside(first_day, MAX_DATE)
                values[str(first_day)].append(aggregation.of_table(connection, condition))
            return values

        values = self._read(f"comparing the days of {self._name(table)}", read)
        return {day: hash_texts([settings, values[day]]) for day in days}

    def comparison_window(self, table: Table) -> ComparisonWindow | None:
        """`source.late_days` and `source.reconcile_days`, where the database can tell the days."""
        if table.name not in self._relations or not self._has_days(table):
            return None
        return ComparisonWindow(
            self.settings.late_days,
            self.settings.reconcile_days,
            self._settings_fingerprint(table),
        )

    def always_compared(self, table: Table) -> Sequence[str]:
        """The home's first day, which has the rows without a plausible day."""
        return (str(self.state.first_day),)

    def _settings_fingerprint(self, table: Table) -> str:
        settings = self.settings
        name = table.name
        return hash_texts(
            [
                self.kind,
                self._url.location,
                self.timezone,
                str(settings.earliest),
                repr(self._relations[name]),
                sorted(self.column_mapping(table).items()),
                self._columns_to_read(table),
                settings.updated_at.get(name),
                sorted(settings.formats.get(name, {}).items()),
                sorted(map(repr, settings.values.get(name, {}).items())),
                sorted(map(str, settings.ids.items())),
            ]
        )

    def _aggregation(self, table: Table, connection: DatabaseConnection) -> Aggregation:
        mapping = self.column_mapping(table)
        numbers = [column.name for column in table.columns if column.type == "DOUBLE"]
        updated_at = self.settings.updated_at.get(table.name)
        columns = self._database_columns(table)
        if updated_at and updated_at not in columns:
            raise SourceError(
                f"{self._name(table)} has no column {updated_at!r}, which source.updated_at."
                f"{table.name} names; its columns are {', '.join(columns)}"
            )
        return Aggregation.build(
            connection,
            self._relation(table, connection),
            columns,
            [mapping[name] for name in numbers if name in mapping],
            updated_at,
        )

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
                    columns = self.column_sql(table, dict(copy.types))
                    rules = self._day_rules(self.state.default_date, self.state.first_day)
                    counts = day_counts(db, table, copy, columns, rules)
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
            copy = self._copy(table, days, limit, Path(self._temporary.name))
        if table.partition != "date":
            return self._rows_sql(db, table, copy.file_rows(), days)
        rules = self._day_rules(self.state.default_date, self.state.first_day)
        rows = rows_of_days(copy, self._time_column_name(table), rules, days)
        return self._rows_sql(db, table, rows, days)

    def read_rows(self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None) -> FileRows:
        """The rows of a table, copied now."""
        return self._copy(table, None, limit, Path(self._temporary.name)).file_rows()

    def _copy(
        self, table: Table, days: Sequence[str] | None, limit: int | None, folder: Path
    ) -> RowCopy:
        """Copies rows that include those of the days into a folder below `folder`."""
        names = self._columns_to_read(table)
        columns = {name: self._database_columns(table)[name] for name in names}
        target = folder / f"{table.name}-{len(list(folder.iterdir()))}"

        def read(connection: DatabaseConnection) -> RowCopy:
            condition = self._condition(table, connection, days)
            sql = (
                f"select {connection.select_list(columns)} from "
                f"{self._relation(table, connection)} where {condition}"
            )
            # The conditions of days are in the query before the first row is read.
            batches = connection.batches(sql, limit)
            return copy_rows(self._name(table), list(columns), batches, target)

        copy = self._read(f"reading {self._name(table)}", read)
        column = self._time_column_name(table)
        if table.partition != "date" or column is None or comparable_kind(copy, column):
            return copy
        with self._small_duckdb(folder) as db:
            rules = self._day_rules(self.state.default_date, self.state.first_day)
            rows = copy.file_rows(is_numbered=False)
            interpreted = self._interpreted_columns(db, table, rows)
            return with_read_day(db, table, copy, interpreted, rules, target / "dated")

    def _condition(
        self, table: Table, connection: DatabaseConnection, days: Sequence[str] | None
    ) -> str:
        """SQL of the rows to read for the days of a table."""
        if days is None or table.partition != "date":
            return "1 = 1"
        if self._time_column_name(table) is None:
            return "1 = 1" if str(self.state.default_date) in days else "1 = 0"
        time = self._time(table, connection)
        if time is None:
            return "1 = 1"
        condition = time.condition([dt.date.fromisoformat(day) for day in days])
        if str(self.state.first_day) in days:
            condition = f"{condition} or {time.outside(self.state.first_day, MAX_DATE)}"
        return f"({condition})"

    # --- the database ---------------------------------------------------------------------------

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
    def _temporary(self) -> tempfile.TemporaryDirectory[str]:
        """Copies outside of `open_partitions`; removed with this object."""
        return tempfile.TemporaryDirectory(prefix="batch-predictions-", ignore_cleanup_errors=True)

    def _read(self, action: str, read: Callable[[DatabaseConnection], Result]) -> Result:
        return read_database(self._url, self.settings, action, read)

    def _name(self, table: Table) -> str:
        return self._relations[table.name].name

    def _relation(self, table: Table, connection: DatabaseConnection) -> str:
        return self._relations[table.name].sql(connection.dialect)

    def _database_columns(self, table: Table) -> dict[str, DatabaseColumn]:
        """The columns of a table; the database is asked once."""
        if table.name not in self._columns:
            self._columns[table.name] = self._read(
                f"reading the columns of {self._name(table)}",
                lambda connection: connection.columns(self._relation(table, connection)),
            )
        return self._columns[table.name]

    def _columns_to_read(self, table: Table) -> list[str]:
        """The matched columns; of tables with `attributes`, all."""
        columns = list(self._database_columns(table))
        if any(column.name == "attributes" for column in table.columns):
            return columns
        matched = set(self.column_mapping(table).values())
        return [name for name in columns if name in matched]

    def _time_column_name(self, table: Table) -> str | None:
        """The column that gives the day of a row; None if there is none."""
        mapping = self.column_mapping(table)
        return mapping.get("date") or mapping.get(TIME_COLUMNS.get(table.name, ""))

    def _has_days(self, table: Table) -> bool:
        """Whether the database can select the days of a table."""
        return table.partition == "date" and self._time_of(table, Dialect()) is not None

    def _time(self, table: Table, connection: DatabaseConnection) -> TimeColumn | None:
        return self._time_of(table, connection.dialect)

    def _time_of(self, table: Table, dialect: Dialect) -> TimeColumn | None:
        name = self._time_column_name(table)
        raw_name = "date" if "date" in self.column_mapping(table) else TIME_COLUMNS.get(table.name)
        interpreted = (self.settings.formats, self.settings.values)
        if name is None or any(raw_name in part.get(table.name, {}) for part in interpreted):
            return None
        kind = self._database_columns(table)[name].kind
        return time_column(dialect.column(name), kind, dialect, self.timezone)

    def _small_duckdb(self, folder: Path) -> duckdb.DuckDBPyConnection:
        db = duckdb.connect(
            ":memory:",
            config={"threads": 2, "memory_limit": "512MB", "temp_directory": str(folder / "spill")},
        )
        db.execute("set timezone = 'UTC'")
        return db
