"""Rows as read from files: a relation of their columns and of where each row comes from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from batch_predictions.sources.base import SourceError
from batch_predictions.warehouse.path_sql import quote_identifier

FILE_NAME, ROW_NUMBER = "__file_name", "__row_number"
"""Columns of every relation of rows: the file, relative to the folder; the row in it, from 1."""

LINE_ERROR, LINE_TEXT = "__line_error", "__line_text"
"""Columns of every relation of rows: why a line is damaged, and its text; null if it is not."""

LEFT_OUT = "__left_out"
"""Column of relations of rows with a condition: whether it leaves the row out."""

RESERVED_NAMES = frozenset(
    {
        FILE_NAME,
        ROW_NUMBER,
        LINE_ERROR,
        LINE_TEXT,
        LEFT_OUT,
        "__path",
        "__n",
        "__json",
        "__values",
        "__is_object",
        "__timestamp",
        "__day",
        "__day_timestamp",
        "__problem",
        "__newest",
        "file_row_number",
    }
)
"""Names of columns that are added to the rows of files."""

MAX_COLUMNS = 2_000
"""Columns of a file that are read; with some thousands more, DuckDB takes minutes for few rows."""


def validate_names(names: Collection[str], file: str) -> None:
    """Checks the names of a file's columns, whose case does not count.

    Raises:
        SourceError: there are too many, one is reserved, or two differ in case only.
    """
    if len(names) > MAX_COLUMNS:
        raise SourceError(
            f"{file} has {len(names):,} columns, and at most {MAX_COLUMNS:,} are read: write a "
            "file without those that no setting names"
        )
    by_lower: dict[str, str] = {}
    for name in names:
        if name.lower() in RESERVED_NAMES:
            raise SourceError(
                f"{file} has a column {name}, a name that is used for reading: rename it, or leave "
                "it out with source.queries"
            )
        other = by_lower.setdefault(name.lower(), name)
        if other != name:
            raise SourceError(
                f"{file} has the columns {other} and {name}, which differ in case only: rename one"
            )


@dataclass(frozen=True)
class FileRows:
    """The rows of a table's files.

    Attributes:
        relation: SQL that can follow `from`. Its columns are those of the files, and `FILE_NAME`,
            `ROW_NUMBER`, `LINE_ERROR` and `LINE_TEXT`.
        types: DuckDB types of the files' columns.
        has_left_out: whether the relation has the column `LEFT_OUT`.
        fields: columns of the row in the quarantine with their types, if they are not `types`:
            of a table of several groups, all groups have the same.
    """

    relation: str
    types: dict[str, str]
    has_left_out: bool = False
    fields: dict[str, str] | None = None

    @property
    def left_out(self) -> str:
        """SQL of whether a row is left out."""
        return LEFT_OUT if self.has_left_out else "false"

    def select_list(self, columns: Mapping[str, str]) -> str:
        """SQL of the columns of `Source.rows_sql`, except `date` and `problem`.

        Args:
            columns: column of the raw table to SQL over the files' columns.
        """
        fields = ", ".join(
            f"{quote_identifier(name)} := {self._field_sql(name, type_)}"
            for name, type_ in (self.fields or self.types).items()
        )
        selected = [
            f"{FILE_NAME} as source",
            f"{ROW_NUMBER} as row_number",
            f"{LINE_TEXT} as line",
            *([f"{LEFT_OUT} as left_out"] if self.has_left_out else []),
            f"struct_pack({fields}) as row",
            *(f"{sql} as {quote_identifier(name)}" for name, sql in columns.items()),
        ]
        return ", ".join(selected)

    def _field_sql(self, name: str, type_: str) -> str:
        """SQL of a column of the row in the quarantine."""
        # DuckDB does not distinguish the case of names.
        own_type = {key.lower(): value for key, value in self.types.items()}.get(name.lower())
        if own_type is None:
            return f"null::{type_}"
        value = quote_identifier(name)
        return value if own_type == type_ else f"{value}::{type_}"


def no_rows(types: Mapping[str, str]) -> FileRows:
    """The rows of no files, with some columns."""
    columns = [f"null::{type_} as {quote_identifier(name)}" for name, type_ in types.items()]
    texts = [f"null::VARCHAR as {name}" for name in (FILE_NAME, LINE_ERROR, LINE_TEXT)]
    selected = ", ".join([*columns, *texts, f"null::BIGINT as {ROW_NUMBER}"])
    return FileRows(f"(select {selected} limit 0)", dict(types))
