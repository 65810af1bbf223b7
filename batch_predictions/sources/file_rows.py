"""Rows as read from files: a relation of their columns and of where each row comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batch_predictions.sources.sql_literals import quote_identifier

FILE_NAME, ROW_NUMBER = "__file_name", "__row_number"
"""Columns of every relation of rows: the file, relative to the folder; the row in it, from 1."""

LINE_ERROR, LINE_TEXT = "__line_error", "__line_text"
"""Columns of every relation of rows: why a line is damaged, and its text; null if it is not."""


@dataclass(frozen=True)
class FileRows:
    """The rows of a table's files.

    Attributes:
        relation: SQL that can follow `from`. Its columns are those of the files, and `FILE_NAME`,
            `ROW_NUMBER`, `LINE_ERROR` and `LINE_TEXT`.
        types: DuckDB types of the files' columns.
    """

    relation: str
    types: dict[str, str]

    def select_list(self, columns: Mapping[str, str]) -> str:
        """SQL of the columns of `Source.rows_sql`, except `date` and `problem`.

        Args:
            columns: column of the raw table to SQL over the files' columns.
        """
        names = [quote_identifier(name) for name in self.types]
        fields = ", ".join(f"{name} := {name}" for name in names)
        selected = [
            f"{FILE_NAME} as source",
            f"{ROW_NUMBER} as row_number",
            f"{LINE_TEXT} as line",
            f"struct_pack({fields}) as row",
            *(f"{sql} as {quote_identifier(name)}" for name, sql in columns.items()),
        ]
        return ", ".join(selected)
