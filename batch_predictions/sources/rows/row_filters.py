"""Conditions on the rows of files, from the setting `source.where`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import duckdb

from batch_predictions.sources.base import SourceError, raw_table
from batch_predictions.sources.rows.file_rows import LEFT_OUT, LINE_ERROR, FileRows
from batch_predictions.sources.rows.sandbox import SandboxError, validate_condition


def validate_conditions(conditions: Mapping[str, str]) -> None:
    """Checks the tables and the SQL conditions of the setting `source.where`.

    Raises:
        SourceError: a table is unknown, or a condition is not one SQL expression over a row.
    """
    for table_name, condition in conditions.items():
        raw_table(table_name, "source.where")
        setting = f"source.where.{table_name}"
        _validate(condition, setting)


def _validate(condition: str, setting: str, columns: Collection[str] | None = None) -> None:
    try:
        validate_condition(condition, columns)
    except SandboxError as error:
        raise SourceError(
            f"{setting} {condition!r} is not a condition ({error}): write one such as "
            "\"status in ('paid', 'fulfilled')\", or source.queries for more"
        ) from error


def apply_condition(
    db: duckdb.DuckDBPyConnection, rows: FileRows, condition: str, setting: str
) -> FileRows:
    """The rows with a column `LEFT_OUT`: whether the condition is false or null.

    Damaged lines are not left out, since their columns are unknown.

    Args:
        db: connection of the rows.
        rows: the rows.
        condition: SQL over the columns of the files.
        setting: name of the setting, for messages.

    Raises:
        SourceError: the condition cannot be evaluated.
    """
    _validate(condition, setting, rows.types)
    relation = (
        f"(select *, {LINE_ERROR} is null and not coalesce(({condition}\n)::BOOLEAN, false) "
        f"as {LEFT_OUT} from {rows.relation})"
    )
    try:
        # All rows are tried, so that a value that cannot be compared is reported here.
        db.execute(f"select count(*) from {relation} where {LEFT_OUT}").fetchall()
    except duckdb.Error as error:
        raise SourceError(
            f"{setting} {condition!r} cannot be evaluated: {_first_line(error)}. The columns are "
            f"{', '.join(rows.types)}; values of CSV and JSON files are text: compare numbers as "
            "try_cast(quantity as double) > 0"
        ) from error
    return FileRows(relation, rows.types, has_left_out=True)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
