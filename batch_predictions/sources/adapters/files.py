"""A folder of Parquet, delimited or JSON Lines files, whose columns settings map to the raw tables.

For each raw table X the setting `source.files` names the files. Without it, the folder may have
`X.parquet`, `X.csv`, `X.jsonl` and others, or a folder `X/` of such files. At least interactions or
reviews are needed. Columns of users and items that are not mapped become `attributes`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import duckdb

from batch_predictions.core.home import State
from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import MAX_DATE, RAW_TABLES, SourceError
from batch_predictions.sources.files.file_index import (
    INDEX_VERSION,
    FileIndex,
    IndexSettings,
    update_index,
)
from batch_predictions.sources.files.file_queries import (
    SourceQuery,
    paths_in_query,
    validate_queries,
)
from batch_predictions.sources.files.file_source import FileSource
from batch_predictions.sources.files.mapped_groups import MappedGroup
from batch_predictions.sources.files.patterns import (
    FileGroup,
    files_by_name,
    files_by_pattern,
    fits,
    is_pattern,
    list_names,
    names_table,
    validate_patterns,
)
from batch_predictions.sources.files.prepared_folder import ARCHIVE
from batch_predictions.sources.rows.file_rows import FileRows
from batch_predictions.sources.rows.fingerprints import hash_json, reading_settings
from batch_predictions.sources.rows.row_filters import validate_conditions
from batch_predictions.sources.rows.row_groups import (
    Interpretation,
    RowGroup,
    group_rows_sql,
    interpret_rows,
)
from batch_predictions.sources.rows.spans import LaterRows, group_days, sum_later_rows
from batch_predictions.sources.validation.column_formats import validate_formats
from batch_predictions.sources.validation.column_mapping import validate_mapping
from batch_predictions.sources.validation.value_maps import validate_values
from batch_predictions.tables import Table

ROWS_PER_READ = 5_000_000
"""How many rows of a daily table are validated together, unless a file has more: they fit into
DuckDB's default memory, while all days of a long history would be written to disk first."""


class MappedFilesSource(FileSource):
    """Files that are named like the raw tables, or by `source.files`, in `source.path`."""

    kind: ClassVar[str] = "files"
    unpacks_archives: ClassVar[bool] = True

    def __init__(self, settings: SourceSettings, state: State | None) -> None:
        super().__init__(settings, state)
        validate_mapping(settings.columns)
        validate_queries(settings.queries)
        validate_patterns(settings.files)
        for table_name, entries in settings.files.items():
            for entry in entries:
                validate_mapping({table_name: entry.columns})
                validate_formats({table_name: entry.formats})
                validate_values({table_name: entry.values})
                validate_conditions({table_name: entry.where} if entry.where else {})

    def missing_files_message(self) -> str:
        """Names the files that are needed, and those that the folder has."""
        return (
            f"{self.folder} has neither interactions nor reviews: write interactions.parquet or "
            "interactions.csv (.tsv, .jsonl, .gz), or a folder interactions/ of such files, or the "
            "same for reviews, or name your files with source.files, such as {interactions: "
            f"'orders*.csv'}}; it has: {list_names(self.folder)}"
        )

    def files(self, table: Table) -> list[Path]:
        """The files that the table's query reads, else those of its patterns or of its name.

        Raises:
            SourceError: the table exists in several forms, or a pattern fits no file.
        """
        if query := self._query(table):
            return query.files() or sorted(p for p in self.folder.rglob("*") if p.is_file())
        return [path for group in self._file_groups(table) for path in group.paths]

    def is_wanted(self, name: str) -> bool:
        """Returns whether a file may be read, by a pattern, a query or its own name."""
        settings = self.settings
        patterns = [entry.pattern for entries in settings.files.values() for entry in entries]
        for table_name, sql in settings.queries.items():
            patterns += paths_in_query(table_name, sql)
        named = [t.name for t in RAW_TABLES if t.name not in {*settings.files, *settings.queries}]
        if name.lower().endswith(ARCHIVE):
            return True
        return any(fits(name, pattern) for pattern in patterns) or names_table(name, named)

    def remote_names(self) -> list[str]:
        """The files of a web server: those that `source.files` names.

        Raises:
            SourceError: it names none, or has patterns.
        """
        names = [e.pattern for entries in self.settings.files.values() for e in entries]
        if not names or any(is_pattern(name) for name in names):
            raise SourceError(
                "source.path is the URL of a web server, whose files cannot be listed: name each "
                "with source.files, such as {interactions: [2026/01.csv, 2026/02.csv]}"
            )
        return list(dict.fromkeys(names))

    def row_groups(
        self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None
    ) -> list[RowGroup]:
        """The rows of a table's groups of files, or of its query.

        Raises:
            SourceError: a file cannot be read, or has no column that a setting names.
        """
        groups = self._groups(table)
        return self._interpret(db, table, groups, [group.read(db, limit) for group in groups])

    @contextmanager
    def open_partitions(
        self, table: Table, days: Sequence[str], folder: Path
    ) -> Iterator[list[Sequence[str]]]:
        """Yields groups of days; of a daily table, with a limited number of rows each."""
        if self.home is None or table.partition != "date" or len(days) == 1:
            with super().open_partitions(table, days, folder) as groups:
                yield groups
            return
        index = self._index(self.home, table, self.state.default_date)
        counts = index.count_partitions(self.state.first_day, self.state.default_date)
        # Several groups would each read a large file.
        largest = max((sum(file.count_days().values()) for file in index.files.values()), default=0)
        rows = max(ROWS_PER_READ, largest)
        yield group_days(days, {str(day): count for day, count in counts.items()}, rows)

    def rows_sql(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        days: Sequence[str] | None,
        limit: int | None = None,
    ) -> str:
        """A query for the rows; of a daily table, only the files with rows of the days are read."""
        if days is None or self.home is None or table.partition != "date":
            return super().rows_sql(db, table, days, limit)
        index = self._index(self.home, table, self.state.default_date)
        names = index.files_of(days, self.state.first_day, self.state.default_date)
        groups = self._groups(table)
        rows = [
            group.read(
                db,
                limit,
                [path for path in group.files.paths if group.name_of(path) in names],
                index.types_of(group),
            )
            for group in groups
        ]
        rules = replace(
            self.day_rules(self.state.default_date, self.state.first_day),
            last_day=index.last_day() or self.state.default_date,
            last_day_over=index.last_day_over,
        )
        return group_rows_sql(db, table, self._interpret(db, table, groups, rows), rules, days)

    def day_fingerprints(self, table: Table, days: Sequence[str]) -> dict[str, str]:
        """Hashes the rows of each day, from the index of the files."""
        if self.home is None or table.partition != "date" or not self.files(table):
            return super().day_fingerprints(table, days)
        index = self._index(self.home, table, self.state.default_date)
        return index.fingerprints(days, self.state.first_day, self.state.default_date)

    def find_day_range(
        self, table: Table, default_date: dt.date, through: dt.date = MAX_DATE
    ) -> tuple[dt.date, dt.date] | None:
        """First and newest readable day; in a home from the index of the files."""
        if self.home is None or table.partition != "date":
            return super().find_day_range(table, default_date, through)
        days = [day for day in self.count_days(table, default_date) if day <= through]
        return (min(days), max(days)) if days else None

    def count_days(self, table: Table, default_date: dt.date) -> dict[dt.date, int]:
        """Rows by readable day; in a home from the index of the files."""
        if self.home is None:
            return super().count_days(table, default_date)
        return self._index(self.home, table, default_date).count_days()

    def later_rows(self, table: Table, last: dt.date) -> LaterRows | None:
        """Rows of the partitions after a day; in a home from the index of the files."""
        if self.home is None:
            return super().later_rows(table, last)
        default_date = self.state.default_date
        index = self._index(self.home, table, default_date)
        return sum_later_rows(index.count_partitions(self.state.first_day, default_date), last)

    def column_sql(self, table: Table, types: dict[str, str]) -> dict[str, str]:
        """The matched columns of the first group, and `attributes` of the others."""
        return self._groups(table)[0].columns(types)

    def column_mapping(self, table: Table) -> dict[str, str]:
        """Column of the raw table to column of the files; several, if files differ."""
        mapping: dict[str, dict[str, None]] = {}
        for _, matches in self._matches_of_groups(table):
            for name, file_column in matches.items():
                mapping.setdefault(name, {})[file_column] = None
        return {name: " or ".join(file_columns) for name, file_columns in mapping.items()}

    def unused_columns(self, table: Table) -> list[str]:
        """Columns of the files that are not matched; none for tables with `attributes`."""
        if any(column.name == "attributes" for column in table.columns):
            return []
        unused: dict[str, None] = {}
        for file_columns, matches in self._matches_of_groups(table):
            unused |= dict.fromkeys(name for name in file_columns if name not in matches.values())
        return list(unused)

    def guesses_ids(self, table: Table) -> bool:
        """Returns whether a column of any group of files is the id of events by a synonym alone."""
        if self.home is None:
            return any(group.guesses_id(types) for group, types in self._types_of_groups(table))
        index = self._index(self.home, table, self.state.default_date)
        return any(group.guesses_id(index.types_of(group)) for group in self._groups(table))

    def _matches_of_groups(self, table: Table) -> list[tuple[tuple[str, ...], dict[str, str]]]:
        """Pairs the columns of each group's files with the raw columns that they match."""
        return [(tuple(types), group.match(types)) for group, types in self._types_of_groups(table)]

    def _types_of_groups(self, table: Table) -> list[tuple[MappedGroup, dict[str, str]]]:
        """The groups of a table with the columns of their files."""
        with duckdb.connect(":memory:") as db:
            return [(group, group.read(db, 1).types) for group in self._groups(table)]

    def _interpret(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        groups: Sequence[MappedGroup],
        rows: Sequence[FileRows],
    ) -> list[RowGroup]:
        """The groups, whose values are read as the settings say."""
        settings = Interpretation.of(self.settings, table)
        columns = [g.columns(r.types) for g, r in zip(groups, rows, strict=True)]
        settings.require_columns(table, {name for names in columns for name in names})
        return [
            interpret_rows(db, table, r, names, settings.of_entry(group.files.entry, names))
            for group, r, names in zip(groups, rows, columns, strict=True)
        ]

    def _index(self, home: Path, table: Table, default_date: dt.date) -> FileIndex:
        fingerprint = hash_json([INDEX_VERSION, reading_settings(self, table), str(default_date)])
        settings = IndexSettings(
            fingerprint,
            replace(
                self.day_rules(default_date, dt.date.min), last_day_over=self._last_day_over(table)
            ),
            Interpretation.of(self.settings, table),
            self.limits,
        )
        return update_index(home, table, self._groups(table), settings)

    def _groups(self, table: Table) -> list[MappedGroup]:
        query = self._query(table)
        if query is None:
            return [
                MappedGroup.of_files(self.settings, table, self.folder, group)
                for group in self._file_groups(table)
            ]
        result = query.result(self.derived_folder("source_queries"), self.limits)
        files = FileGroup((result,), "parquet")
        mapping = self.settings.columns.get(table.name, {})
        return [MappedGroup(table, self.folder, files, mapping, query.fingerprint())]

    def _file_groups(self, table: Table) -> list[FileGroup]:
        """The files of a table without a query, by format and mapping."""
        entries = self.settings.files.get(table.name)
        if entries is None:
            return files_by_name(self.folder, table.name)
        return files_by_pattern(self.folder, table.name, entries)

    def _query(self, table: Table) -> SourceQuery | None:
        sql = self.settings.queries.get(table.name)
        return SourceQuery(table.name, sql, self.folder) if sql else None
