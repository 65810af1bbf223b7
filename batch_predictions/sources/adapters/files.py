"""A folder of Parquet, delimited or JSON Lines files, whose columns settings map to the raw tables.

For each raw table X the setting `source.files` names the files. Without it, the folder may have
`X.parquet`, `X.csv`, `X.jsonl` and others, or a folder `X/` of such files. At least interactions or
reviews are needed. Columns of users and items that are not mapped become `attributes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import duckdb

from batch_predictions.home import State
from batch_predictions.settings import SourceSettings
from batch_predictions.sources.file_formats import read_files
from batch_predictions.sources.file_patterns import (
    FileGroup,
    files_by_name,
    files_by_pattern,
    list_names,
    validate_patterns,
)
from batch_predictions.sources.file_rows import FILE_NAME, FileRows
from batch_predictions.sources.file_source import FileSource
from batch_predictions.sources.mapped_columns import mapped_column_sql
from batch_predictions.sources.parquet_files import read_parquet_files
from batch_predictions.sources.row_filters import validate_conditions
from batch_predictions.sources.row_groups import Interpretation, RowGroup, interpret_rows
from batch_predictions.sources.source_queries import SourceQuery, validate_queries
from batch_predictions.sources.sql_literals import quote_literal
from batch_predictions.sources.validation.column_formats import validate_formats
from batch_predictions.sources.validation.column_mapping import (
    match_columns,
    validate_mapping,
)
from batch_predictions.sources.validation.value_maps import validate_values
from batch_predictions.tables import Table


class MappedFilesSource(FileSource):
    """Files that are named like the raw tables, or by `source.files`, in `source.path`."""

    kind: ClassVar[str] = "files"

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
        """The files that the table's query reads, else those of `groups`.

        Raises:
            SourceError: the table exists in several forms, or a pattern fits no file.
        """
        if query := self._query(table):
            return query.files() or sorted(p for p in self.folder.rglob("*") if p.is_file())
        return [path for group in self.groups(table) for path in group.paths]

    def groups(self, table: Table) -> list[FileGroup]:
        """The files of a table without a query, by format and mapping.

        Raises:
            SourceError: the table exists in several forms, or a pattern fits no file.
        """
        entries = self.settings.files.get(table.name)
        if entries is None:
            return files_by_name(self.folder, table.name)
        return files_by_pattern(self.folder, table.name, entries)

    def row_groups(
        self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None
    ) -> list[RowGroup]:
        """The rows of a table's groups of files, or of its query.

        Raises:
            SourceError: a file cannot be read, or has no column that a setting names.
        """
        settings = Interpretation.of(self.settings, table)
        groups = [
            (group, rows, self._columns(table, group, rows.types))
            for group, rows in self._read_groups(db, table, limit)
        ]
        settings.require_columns(table, {name for *_, columns in groups for name in columns})
        return [
            interpret_rows(db, table, rows, columns, settings.of_entry(group, columns))
            for group, rows, columns in groups
        ]

    def column_sql(self, table: Table, types: dict[str, str]) -> dict[str, str]:
        """The matched columns by the table's mapping, and `attributes` of the others."""
        return self._columns(table, None, types)

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

    def _query(self, table: Table) -> SourceQuery | None:
        sql = self.settings.queries.get(table.name)
        return SourceQuery(table.name, sql, self.folder) if sql else None

    def _read_groups(
        self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None
    ) -> Iterator[tuple[FileGroup | None, FileRows]]:
        """The groups with their rows; None for the result of a query."""
        if query := self._query(table):
            result = query.result(self.derived_folder("source_queries"), self.limits)
            rows = read_parquet_files(db, result.parent, [result], limit)
            name = quote_literal(f"query {table.name}")
            relation = f"(select * replace ({name} as {FILE_NAME}) from {rows.relation})"
            yield None, replace(rows, relation=relation)
            return
        for group in self.groups(table):
            yield group, read_files(db, self.folder, group.paths, group.format, limit)

    def _matches_of_groups(self, table: Table) -> list[tuple[tuple[str, ...], dict[str, str]]]:
        """Of each group, the columns of its files, and those of the raw table that they match."""
        with duckdb.connect(":memory:") as db:
            groups = [(group, rows.types) for group, rows in self._read_groups(db, table, 1)]
        return [(tuple(types), self._match(table, group, types)) for group, types in groups]

    def _match(
        self, table: Table, group: FileGroup | None, types: dict[str, str]
    ) -> dict[str, str]:
        mapping = self.settings.columns.get(table.name, {})
        name = f"the result of source.queries.{table.name}"
        if group:
            name = str(group.paths[0].relative_to(self.folder))
            mapping = {**mapping, **(group.entry.columns if group.entry else {})}
        return match_columns(table, tuple(types), mapping, name)

    def _columns(
        self, table: Table, group: FileGroup | None, types: dict[str, str]
    ) -> dict[str, str]:
        """Column of the raw table to SQL over the columns of a group."""
        return mapped_column_sql(table, self._match(table, group, types), types)
