"""Conditions on the rows of files, from the setting `source.where`.

Here is also the SQL of the columns of raw tables from the matched columns of a source.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import duckdb

from batch_predictions.sources.base import SourceError, raw_table
from batch_predictions.sources.rows.file_rows import LEFT_OUT, LINE_ERROR, FileRows
from batch_predictions.sources.rows.sandbox import SandboxError, validate_condition
from batch_predictions.sources.validation.column_mapping import HEADLINE
from batch_predictions.sources.validation.event_types import RATING
from batch_predictions.tables import INTERACTIONS, Table
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal


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


_RATING_COLUMNS = ("rating", "stars", "score")
"""Columns whose interactions are ratings, where there are no types: no money was paid."""


def mapped_column_sql(
    table: Table, matches: Mapping[str, str], types: Mapping[str, str]
) -> dict[str, str]:
    """Column of the raw table to SQL over the source's columns; `attributes` of the others.

    Args:
        table: the raw table.
        matches: column of the raw table to column of the source, from `match_columns`.
        types: DuckDB types of the source's columns.
    """
    columns = {name: quote_identifier(file_column) for name, file_column in matches.items()}
    headline, text = columns.pop(HEADLINE, None), columns.get("text")
    if headline is not None and text is not None:
        # A title alone is not a review: without a text, the review stays empty.
        columns["text"] = (
            f"case when trim({text}::VARCHAR) <> '' then "
            f"concat_ws('. ', nullif(trim({headline}::VARCHAR), ''), {text}) end"
        )
    is_rating = matches.get("amount", "").strip().lower() in _RATING_COLUMNS
    if table == INTERACTIONS and is_rating and "event_type" not in columns:
        columns["event_type"] = quote_literal(RATING)
    if any(column.name == "attributes" for column in table.columns):
        mapped = matches.get("attributes")
        if mapped is None or types[mapped] != table.type_of("attributes"):
            unmatched = [n for n in types if n not in matches.values() or n == mapped]
            columns.pop("attributes", None)
            if unmatched:
                columns["attributes"] = _map_sql(unmatched)
    return columns


def _map_sql(names: list[str]) -> str:
    """SQL of a map of the columns that are not empty."""
    entries = ", ".join(
        f"struct_pack(k := {quote_literal(name)}, "
        f"v := nullif(trim({quote_identifier(name)}::VARCHAR), ''))"
        for name in names
    )
    return f"map_from_entries(list_filter([{entries}], lambda entry: entry.v is not null))"
