"""A raw table's relation in a database: its columns, days, aggregates, and copies of its rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from batch_predictions.sources.base import MAX_DATE, Source, SourceError
from batch_predictions.sources.databases.aggregates import Aggregation, DatabaseDays
from batch_predictions.sources.databases.connection import (
    DatabaseColumn,
    DatabaseConnection,
    DatabaseUrl,
)
from batch_predictions.sources.databases.database_factory import read_database
from batch_predictions.sources.databases.dialects import SqlDialect, TableRelation
from batch_predictions.sources.databases.table_copies import RowCopy, copy_rows
from batch_predictions.sources.databases.time_columns import TimeColumn, time_column
from batch_predictions.sources.rows.fingerprints import hash_json, reading_settings
from batch_predictions.sources.validation.column_mapping import (
    TIME_COLUMNS,
    is_guessed_id,
    match_columns,
)
from batch_predictions.sources.validation.plausible_days import DayCounts
from batch_predictions.tables import Table

Result = TypeVar("Result")


class DatabaseTable:
    """A table or query of a database as the source of one raw table.

    Attributes:
        table: the raw table.
        relation: the table or query of the database.
    """

    def __init__(
        self,
        table: Table,
        relation: TableRelation,
        url: DatabaseUrl,
        source: Source,
    ) -> None:
        self.table = table
        self.relation = relation
        self._url = url
        self._source = source
        self._settings = source.settings

    @property
    def name(self) -> str:
        """The name of the database's table, or `query …`."""
        return self.relation.name

    # --- columns --------------------------------------------------------------------------------

    @cached_property
    def columns(self) -> dict[str, DatabaseColumn]:
        """The columns in the database."""
        return self._read(
            f"reading the columns of {self.name}",
            lambda connection: connection.columns(self.relation.sql(connection.dialect)),
        )

    @cached_property
    def mapping(self) -> dict[str, str]:
        """Column of the raw table to column of the database.

        Raises:
            SourceError: a required or mapped column is missing, or a column has several candidates.
        """
        mapping = self._settings.columns.get(self.table.name, {})
        return match_columns(self.table, tuple(self.columns), mapping, self.name)

    @property
    def guesses_id(self) -> bool:
        """Whether the id of events is a column by a synonym alone: `is_guessed_id`."""
        return is_guessed_id(
            self.table, self.mapping, self._settings.columns.get(self.table.name, {})
        )

    @cached_property
    def columns_to_read(self) -> list[str]:
        """The mapped columns and those that settings name; of tables with `attributes`, all."""
        if any(column.name == "attributes" for column in self.table.columns):
            return list(self.columns)
        rule = self._settings.deduplicate.get(self.table.name)
        needed = {*self.mapping.values(), self.updated_at, *(rule.by if rule else ())}
        return [name for name in self.columns if name in needed]

    @cached_property
    def updated_at(self) -> str | None:
        """The column with the time of a row's last change.

        Raises:
            SourceError: the database does not have the column that `source.updated_at` names.
        """
        name = self._settings.updated_at.get(self.table.name)
        if name and name not in self.columns:
            raise SourceError(
                f"{self.name} has no column {name!r}, which source.updated_at.{self.table.name} "
                f"names; its columns are {', '.join(self.columns)}"
            )
        return name

    @cached_property
    def time_name(self) -> str | None:
        """The column that gives the day of a row; None if there is none."""
        return self.mapping.get("date") or self.mapping.get(TIME_COLUMNS.get(self.table.name, ""))

    @property
    def has_days(self) -> bool:
        """Whether the database can select the days of the table."""
        return self.table.partition == "date" and self._time(SqlDialect()) is not None

    def _time(self, dialect: SqlDialect) -> TimeColumn | None:
        """The time column; None if the database cannot select its days."""
        if self.time_name is None:
            return None
        raw_name = "date" if "date" in self.mapping else TIME_COLUMNS.get(self.table.name)
        for interpreted in (self._settings.formats, self._settings.values):
            if raw_name in interpreted.get(self.table.name, {}):
                return None
        kind = self.columns[self.time_name].kind
        source = self._source
        name = dialect.column(self.time_name)
        return time_column(name, kind, dialect, source.timezone, source.naive_zone)

    # --- days and aggregates --------------------------------------------------------------------

    def read_days(self, read: Callable[[DayCounts], Result]) -> list[Result]:
        """Applies a function to the numbers of rows by plausible day.

        Empty if the database cannot read all values of the time column.

        Args:
            read: is called with the days; each question is one query.
        """

        def read_exact(connection: DatabaseConnection) -> list[Result]:
            relation, time = self.relation.sql(connection.dialect), self._time(connection.dialect)
            if time is None:
                return []
            unreadable = f"select count(*) from {relation} where {time.unreadable()}"
            if connection.rows(unreadable) != [(0,)]:
                return []
            return [read(DatabaseDays(connection, relation, time, self._settings.earliest_day))]

        return self._read(f"reading the days of {self.name}", read_exact)

    def settings_fingerprint(self) -> str:
        """A hash of the settings that decide how rows are read."""
        settings = reading_settings(self._source, self.table)
        mapping = sorted(self.mapping.items())
        relation = [self._url.location, repr(self.relation), self.updated_at]
        guess = ["guessed id"] if self.guesses_id else []
        return hash_json([settings, relation, mapping, self.columns_to_read, *guess])

    def fingerprint(self) -> str:
        """A hash of the settings, and of aggregates of all rows."""
        aggregates = self._read(
            f"comparing {self.name}",
            lambda connection: self._aggregation(connection).of_table(connection),
        )
        return hash_json([self.settings_fingerprint(), aggregates])

    def day_fingerprints(self, days: Sequence[str], first_day: dt.date) -> dict[str, str]:
        """Hashes the settings and the aggregates of each day's rows.

        Args:
            days: days of a table that `has_days`.
            first_day: the day that has the rows without a plausible day.
        """
        settings = self.settings_fingerprint()

        def read(connection: DatabaseConnection) -> dict[str, list[object]]:
            aggregation, time = self._aggregation(connection), self._time(connection.dialect)
            assert time is not None
            dates = {day: dt.date.fromisoformat(day) for day in days}
            by_day = aggregation.by_day(connection, time, sorted(dates.values()))
            values: dict[str, list[object]] = {
                day: [by_day.get(date), by_day.get(None)] for day, date in dates.items()
            }
            if str(first_day) in values:
                condition = time.outside(first_day, MAX_DATE)
                values[str(first_day)].append(aggregation.of_table(connection, condition))
            return values

        values = self._read(f"comparing the days of {self.name}", read)
        return {day: hash_json([settings, values[day]]) for day in days}

    def _aggregation(self, connection: DatabaseConnection) -> Aggregation:
        numbers = [column.name for column in self.table.columns if column.type == "DOUBLE"]
        return Aggregation.build(
            connection,
            self.relation.sql(connection.dialect),
            self.columns,
            [self.mapping[name] for name in numbers if name in self.mapping],
            self.updated_at,
        )

    # --- rows -----------------------------------------------------------------------------------

    def copy(
        self, days: Sequence[str] | None, first_day: dt.date, limit: int | None, folder: Path
    ) -> RowCopy:
        """Copies rows that include those of the days into Parquet files.

        Args:
            days: partitions; None: all rows.
            first_day: the day that has the rows without a plausible day.
            limit: about how many rows; None: all.
            folder: folder of the files.
        """
        columns = {name: self.columns[name] for name in self.columns_to_read}
        order = [name for name in (self.updated_at, self.time_name) if name]

        def read(connection: DatabaseConnection) -> RowCopy:
            # The range of days is fixed before the first row is read.
            condition = self._condition(connection.dialect, days, first_day)
            query = (
                f"select {connection.select_list(columns)} from "
                f"{self.relation.sql(connection.dialect)} where {condition}"
            )
            batches = connection.batches(query, limit)
            return copy_rows(self.name, list(columns), order, batches, folder)

        return self._read(f"reading {self.name}", read)

    def _condition(
        self, dialect: SqlDialect, days: Sequence[str] | None, first_day: dt.date
    ) -> str:
        """SQL of the rows of days; all rows, if the database cannot select days."""
        time = self._time(dialect)
        if days is None or self.table.partition != "date" or time is None:
            return "1 = 1"
        condition = time.condition([dt.date.fromisoformat(day) for day in days])
        if str(first_day) in days:
            condition = f"{condition} or {time.outside(first_day, MAX_DATE)}"
        return f"({condition})"

    def _read(self, action: str, read: Callable[[DatabaseConnection], Result]) -> Result:
        return read_database(self._url, self._settings, action, read)
