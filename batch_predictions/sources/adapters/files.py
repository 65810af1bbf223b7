"""A folder of Parquet or delimited files, whose columns settings map to those of the raw tables.

For each raw table X the folder may have `X.parquet`, `X.csv`, `X.tsv` (or `.csv.gz`, `.tsv.gz`), or
a folder `X/` of such files; at least interactions or reviews. Columns of users and items that are
not mapped become `attributes`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import duckdb

from batch_predictions.home import State
from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.file_rows import FILE_NAME, FileRows
from batch_predictions.sources.file_source import FileSource
from batch_predictions.sources.mapped_columns import mapped_column_sql
from batch_predictions.sources.parquet_files import read_parquet_files
from batch_predictions.sources.source_queries import SourceQuery, validate_queries
from batch_predictions.sources.sql_literals import quote_literal
from batch_predictions.sources.validation.column_mapping import (
    match_columns,
    validate_mapping,
)
from batch_predictions.tables import Table

PARQUET_SUFFIXES = (".parquet",)
TEXT_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


class MappedFilesSource(FileSource):
    """Files that are named like the raw tables, in `source.path`."""

    kind: ClassVar[str] = "files"

    def __init__(self, settings: SourceSettings, state: State | None) -> None:
        super().__init__(settings, state)
        validate_mapping(settings.columns)
        validate_queries(settings.queries)

    def missing_files_message(self) -> str:
        """Names the files that are needed, and those that the folder has."""
        names = sorted(path.name for path in self.folder.iterdir() if path.name[0] != ".")
        return (
            f"{self.folder} has neither interactions nor reviews: write interactions.parquet or "
            "interactions.csv (.tsv, .gz), or a folder interactions/ of such files, or the same "
            f"for reviews; it has: {', '.join(names[:10]) or 'no files'}"
        )

    def files(self, table: Table) -> list[Path]:
        """The files that the table's query reads, else its file or those of its folder, by name.

        Raises:
            SourceError: the table exists in several forms, or its folder has no files.
        """
        if query := self._query(table):
            return query.files() or sorted(p for p in self.folder.rglob("*") if p.is_file())
        suffixes = (*PARQUET_SUFFIXES, *TEXT_SUFFIXES)
        paths = [self.folder / f"{table.name}{suffix}" for suffix in suffixes]
        forms = [[path] for path in paths if path.is_file()]
        table_folder = self.folder / table.name
        if table_folder.is_dir():
            forms += [
                paths
                for suffixes in (PARQUET_SUFFIXES, TEXT_SUFFIXES)
                if (paths := _visible_files(table_folder, suffixes))
            ]
            if not forms:
                raise SourceError(
                    f"{table_folder} has no .parquet, .csv or .tsv file: write one, or remove the "
                    "folder"
                )
        if len(forms) > 1:
            names = " and ".join(str(form[0].relative_to(self.folder)) for form in forms)
            raise SourceError(
                f"{self.folder} has raw.{table.name} more than once ({names}): keep one form"
            )
        return forms[0] if forms else []

    def read_rows(self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None) -> FileRows:
        """The rows of a table's files, or of its query."""
        query = self._query(table)
        if query is None:
            return super().read_rows(db, table, limit)
        result = query.result(self.derived_folder("source_queries"), self.limits)
        rows = read_parquet_files(db, result.parent, [result], limit)
        name = quote_literal(f"query {table.name}")
        relation = f"(select * replace ({name} as {FILE_NAME}) from {rows.relation})"
        return replace(rows, relation=relation)

    def _query(self, table: Table) -> SourceQuery | None:
        sql = self.settings.queries.get(table.name)
        return SourceQuery(table.name, sql, self.folder) if sql else None

    def column_sql(self, table: Table, types: dict[str, str]) -> dict[str, str]:
        """The matched columns, and `attributes` of the others."""
        return mapped_column_sql(table, self._match_columns(table, tuple(types)), types)

    def column_mapping(self, table: Table) -> dict[str, str]:
        """Column of the raw table to column of the files."""
        with duckdb.connect(":memory:") as db:
            return self._match_columns(table, tuple(self.read_rows(db, table, 1).types))

    def unused_columns(self, table: Table) -> list[str]:
        """Columns of the files that are not matched; none for tables with `attributes`."""
        if any(column.name == "attributes" for column in table.columns):
            return []
        with duckdb.connect(":memory:") as db:
            file_columns = tuple(self.read_rows(db, table, 1).types)
        matched = set(self._match_columns(table, file_columns).values())
        return [name for name in file_columns if name not in matched]

    def _match_columns(self, table: Table, file_columns: tuple[str, ...]) -> dict[str, str]:
        mapping = self.settings.columns.get(table.name, {})
        name = (
            f"the result of source.queries.{table.name}"
            if self._query(table)
            else self.file_names(table)[0]
        )
        return match_columns(table, file_columns, mapping, name)


def _visible_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files with one of the suffixes; not those of folders such as Spark's `_temporary`."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name.endswith(suffixes)
        and path.is_file()
        and not any(part[0] in "._" for part in path.relative_to(folder).parts)
    )
