"""The base class of adapters that read files."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import duckdb

from batch_predictions.home import State
from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import (
    ABSENT_FINGERPRINT,
    RAW_TABLES,
    Source,
    SourceError,
    Span,
    last_sunday_before,
)
from batch_predictions.sources.daily_rows import daily_rows_sql, dated_rows_sql
from batch_predictions.sources.delimited import read_delimited, sniff_dialect
from batch_predictions.sources.file_rows import LINE_ERROR, FileRows
from batch_predictions.sources.parquet_files import read_parquet_files
from batch_predictions.sources.sql_literals import quote_identifier
from batch_predictions.sources.validation.column_formats import validate_formats
from batch_predictions.sources.validation.interpretation import interpret_columns
from batch_predictions.sources.validation.timestamps import DayRules
from batch_predictions.sources.validation.value_maps import validate_values
from batch_predictions.sources.weekly_spans import weekly_rows_sql, weekly_spans_sql
from batch_predictions.tables import Table


class FileSource(Source):
    """Reads a folder of files, `source.path`. An adapter implements `files` and `column_sql`.

    Parquet files and delimited text with a header are read by default; for other formats override
    `read_rows`. Days, weeks, damaged lines and fingerprints are the same for all adapters of files.
    """

    def __init__(self, settings: SourceSettings, state: State | None) -> None:
        super().__init__(settings, state)
        validate_formats(settings.formats)
        validate_values(settings.values)

    @abstractmethod
    def files(self, table: Table) -> list[Path]:
        """The files of a raw table in a fixed order; empty if the source does not have the table.

        They must be in `folder`, and of one format.
        """

    @abstractmethod
    def column_sql(self, table: Table, types: dict[str, str]) -> dict[str, str]:
        """Column of the raw table to a SQL expression over the files' columns.

        Values keep their text or type; they are converted and validated afterwards. A daily table
        needs a `date` or its timestamp (`occurred_at`, `written_at`): without both, all rows belong
        to the default date.

        Args:
            table: the raw table.
            types: DuckDB types of the files' columns; delimited text is VARCHAR.
        """

    def read_rows(self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None) -> FileRows:
        """The rows of a table's files.

        Args:
            db: connection in which the relation will be read.
            table: the raw table; the source has it.
            limit: about how many rows to read; None: all.

        Raises:
            SourceError: a file cannot be read.
        """
        paths = self.files(table)
        names = self.file_names(table)
        for path, name in zip(paths, names, strict=True):
            if path.stat().st_size == 0:
                raise SourceError(
                    f"{name} is empty (0 bytes): write at least a header, or remove it"
                )
        is_hive = any("=" in part for name in names for part in Path(name).parts)
        if paths[0].suffix == ".parquet":
            return read_parquet_files(db, self.folder, paths, limit, hive_partitioning=is_hive)
        if is_hive:
            raise SourceError(
                f"{names[0]} has a column in its folder's name, which is only possible with "
                "Parquet: write the column into the file, or write Parquet"
            )
        dialects = [sniff_dialect(path, name) for path, name in zip(paths, names, strict=True)]
        return read_delimited(db, self.folder, zip(paths, dialects, strict=True), limit)

    def missing_files_message(self) -> str:
        """The error message if the folder has neither interactions nor reviews."""
        return (
            f"{self.folder} has no files of interactions or reviews that source.kind {self.kind} "
            "reads: set source.path to their folder"
        )

    @property
    def folder(self) -> Path:
        """The folder of the files.

        Raises:
            SourceError: `source.path` is not set, or is not a folder.
        """
        path = self.settings.path
        if path is None:
            raise SourceError(
                f"source.kind is {self.kind}: set source.path to the folder of its files"
            )
        if not path.is_dir():
            raise SourceError(
                f"source.path {path.absolute()} is not a folder: set it to the folder of the files"
            )
        return path.absolute()

    def tables(self) -> tuple[Table, ...]:
        """The raw tables that have files."""
        tables = tuple(table for table in RAW_TABLES if self.files(table))
        if not {"interactions", "reviews"} & {table.name for table in tables}:
            raise SourceError(self.missing_files_message())
        return tables

    def file_names(self, table: Table) -> list[str]:
        """Names of a table's files, relative to the folder."""
        return [str(path.relative_to(self.folder)) for path in self.files(table)]

    def unread_files(self) -> list[str]:
        """Visible files in the folder that belong to no table, relative to it, by name."""
        read = {path for table in RAW_TABLES for path in self.files(table)}
        names = (
            path.relative_to(self.folder) for path in self.folder.rglob("*") if path not in read
        )
        return sorted(
            str(name)
            for name in names
            if (self.folder / name).is_file() and not any(part[0] in "._" for part in name.parts)
        )

    def fingerprint(self, table: Table) -> str:
        """A hash of the files' names, sizes and times, and of the settings that concern them."""
        paths = self.files(table)
        if not paths:
            return ABSENT_FINGERPRINT
        is_typed = table.name == "interactions" and self.settings.events
        hashed: list[object] = [
            self.kind,
            self.timezone,
            str(self.settings.earliest),
            sorted(self.settings.columns.get(table.name, {}).items()),
            # Settings without a value are left out: homes of older versions stay as they are.
            *([formats] if (formats := self.settings.formats.get(table.name)) else []),
            *([self.event_types.values_by_type()] if is_typed else []),
            *([["values", values]] if (values := self.settings.values.get(table.name)) else []),
            *([["ids", ids]] if (ids := sorted(map(str, self.settings.ids.items()))) else []),
        ]
        for path, name in zip(paths, self.file_names(table), strict=True):
            stat = path.stat()
            hashed.append((name, stat.st_size, stat.st_mtime_ns))
        return hashlib.sha256(json.dumps(hashed).encode()).hexdigest()[:32]

    def span(self, today: dt.date) -> Span:
        """From the oldest readable day, or the default date; without an end."""
        default_date = self.settings.default_date or last_sunday_before(today)
        ranges = [self._day_range(table, default_date) for table in self._daily_tables()]
        first_days = [day_range[0] for day_range in ranges if day_range]
        return Span(min(first_days, default=default_date), None, default_date)

    def newest_complete_day(self, today: dt.date) -> dt.date:
        """Yesterday, or the newest readable day if that is older."""
        ranges = [self.day_range(table) for table in self._daily_tables()]
        newest_days = [day_range[1] for day_range in ranges if day_range]
        newest_day = max(newest_days, default=self.state.default_date)
        return min(newest_day, today - dt.timedelta(days=1))

    def day_range(self, table: Table) -> tuple[dt.date, dt.date] | None:
        """First and newest readable day of a table's files."""
        return self._day_range(table, self.state.default_date)

    def rows_sql(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        days: Sequence[str] | None,
        limit: int | None = None,
    ) -> str:
        """A query for the rows of a table's files; see `Source.rows_sql`."""
        return self._rows_sql(db, table, self.read_rows(db, table, limit), days)

    def _rows_sql(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        rows: FileRows,
        days: Sequence[str] | None,
    ) -> str:
        columns = self._interpreted_columns(db, table, rows)
        if not table.partition:
            select_list = rows.select_list(columns)
            return f"select {select_list}, {LINE_ERROR} as problem from {rows.relation}"
        rules = self._day_rules(self.state.default_date, self.state.first_day)
        if table.partition == "week":
            return weekly_rows_sql(db, rows, columns, rules, days)
        return daily_rows_sql(db, table, rows, columns, rules, days)

    def _daily_tables(self) -> list[Table]:
        """The tables that determine the days of the source; weekly ones are known ahead."""
        return [table for table in self.tables() if table.partition == "date"]

    def _day_range(self, table: Table, default_date: dt.date) -> tuple[dt.date, dt.date] | None:
        # Only the time columns are scanned: a small connection is enough.
        with duckdb.connect(":memory:", config={"threads": 2}) as db:
            db.execute("set timezone = 'UTC'")
            rows = self.read_rows(db, table, None)
            columns = self._interpreted_columns(db, table, rows)
            rules = self._day_rules(default_date, dt.date.min)
            if table.partition == "week":
                dated = weekly_spans_sql(db, rows, columns, rules)
                first_day, last_day = "__first_day", "__last_day"
            else:
                dated = dated_rows_sql(db, table, rows, columns, rules)
                first_day = last_day = "__day"
            row = db.execute(
                f"select min({first_day}), max({last_day}) from ({dated}) where __problem is null"
            ).fetchone()
        return (row[0], row[1]) if row and row[0] else None

    def _interpreted_columns(
        self, db: duckdb.DuckDBPyConnection, table: Table, rows: FileRows
    ) -> dict[str, str]:
        columns = self.column_sql(table, rows.types)
        formats = self.settings.formats.get(table.name, {})
        values = self.settings.values.get(table.name, {})
        if not formats and not values:
            return columns
        selected = ", ".join(f"{sql} as {quote_identifier(name)}" for name, sql in columns.items())
        described = db.execute(f"describe select {selected} from {rows.relation}").fetchall()
        types = {row[0]: row[1] for row in described}
        return interpret_columns(table, columns, types, formats, values)

    def _day_rules(self, default_date: dt.date, first_day: dt.date) -> DayRules:
        return DayRules(self.timezone, self.settings.earliest, first_day, default_date)
