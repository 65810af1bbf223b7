"""SQL of the columns of raw tables from the matched columns of a source."""

from __future__ import annotations

from collections.abc import Mapping

from batch_predictions.sources.validation.column_mapping import HEADLINE
from batch_predictions.sources.validation.event_types import RATING
from batch_predictions.tables import INTERACTIONS, Table
from batch_predictions.warehouse.sql_literals import quote_identifier, quote_literal

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
