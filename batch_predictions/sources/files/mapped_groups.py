"""A group of a table's files that are read in the same way, with the mapping of their columns."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.files.formats import read_files
from batch_predictions.sources.files.parquet_files import read_parquet_files
from batch_predictions.sources.files.patterns import FileGroup
from batch_predictions.sources.rows.file_rows import FILE_NAME, FileRows, no_rows
from batch_predictions.sources.rows.row_filters import mapped_column_sql
from batch_predictions.sources.validation.column_mapping import is_guessed_id, match_columns
from batch_predictions.tables import Table
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal


@dataclass(frozen=True)
class MappedGroup:
    """A group of files, or the result of a query, and how its columns are mapped.

    Attributes:
        table: the raw table.
        folder: folder to which file names are relative.
        files: the files; of a query, the file of its result.
        mapping: column of the raw table to column of the files, as settings say.
        query: fingerprint of the query; None for files of the source.
    """

    table: Table
    folder: Path
    files: FileGroup
    mapping: Mapping[str, str]
    query: str | None = None

    @classmethod
    def of_files(
        cls, settings: SourceSettings, table: Table, folder: Path, files: FileGroup
    ) -> MappedGroup:
        """A group of files of the source; the mapping of its entry is laid over the table's."""
        entry = files.entry.columns if files.entry else {}
        return cls(table, folder, files, {**settings.columns.get(table.name, {}), **entry})

    def name_of(self, path: Path) -> str:
        """The name of a file in reports and in the quarantine."""
        if self.query:
            return f"query {self.table.name}"
        # As `relative_to`, in a twentieth of its time: an index asks for every file.
        return str(path).removeprefix(f"{self.folder}{os.sep}")

    def signature_of(self, path: Path) -> list[int | str]:
        """Values that change when the file changes: size and time, or the query's fingerprint."""
        if self.query:
            return [self.query]
        stat = path.stat()
        return [stat.st_size, stat.st_mtime_ns]

    def read(
        self,
        db: duckdb.DuckDBPyConnection,
        limit: int | None = None,
        paths: Sequence[Path] | None = None,
        types: Mapping[str, str] | None = None,
    ) -> FileRows:
        """The rows of the group.

        Args:
            db: connection in which the relation will be read.
            limit: about how many rows to read; None: all.
            paths: files of the group to read; None: all.
            types: columns of all files of the group; those that the read files lack are null.

        Raises:
            SourceError: a file cannot be read.
        """
        paths = self.files.paths if paths is None else paths
        if not paths:
            return no_rows(types or {})
        if self.query:
            rows = read_parquet_files(db, paths[0].parent, paths, limit)
            name = quote_literal(self.name_of(paths[0]))
            relation = f"(select * replace ({name} as {FILE_NAME}) from {rows.relation})"
            rows = replace(rows, relation=relation)
        else:
            rows = read_files(db, self.folder, paths, self.files.format, limit)
        return _with_columns(rows, types or {})

    def match(self, types: Mapping[str, str]) -> dict[str, str]:
        """Column of the raw table to column of the files.

        Args:
            types: columns of the files.

        Raises:
            SourceError: a required or mapped column is missing, or a column has several candidates.
        """
        name = f"the result of source.queries.{self.table.name}"
        if not self.query:
            name = self.name_of(self.files.paths[0])
        return match_columns(self.table, tuple(types), self.mapping, name)

    def guesses_id(self, types: Mapping[str, str]) -> bool:
        """Returns whether the id of events is a column by a synonym alone: `is_guessed_id`."""
        return is_guessed_id(self.table, self.match(types), self.mapping)

    def columns(self, types: Mapping[str, str]) -> dict[str, str]:
        """Column of the raw table to SQL over the files' columns; `attributes` of the others."""
        return mapped_column_sql(self.table, self.match(types), types)


def _with_columns(rows: FileRows, types: Mapping[str, str]) -> FileRows:
    """The rows with further columns, which are null."""
    names = {name.lower() for name in rows.types}
    added = {name: type_ for name, type_ in types.items() if name.lower() not in names}
    if not added:
        return rows
    nulls = ", ".join(f"null::{t} as {quote_identifier(name)}" for name, t in added.items())
    return replace(
        rows, relation=f"(select *, {nulls} from {rows.relation})", types={**rows.types, **added}
    )
