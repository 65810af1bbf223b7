"""Selects the tables and columns whose drift is measured."""

from __future__ import annotations

from batch_predictions.tables import TABLES, Column, Table

CATEGORIES = frozenset(
    {"age_bracket", "gender", "label", "level", "reason", "segment_level", "sentiment", "source"}
)
"""Columns of text whose mix is compared."""
_LEFT_OUT = {"rank", "date"}


def drift_tables() -> list[Table]:
    """Daily tables of features and predictions that have a column to compare, plugins' too."""
    return [
        table
        for table in TABLES.values()
        if table.schema in ("features", "predictions")
        and table.partition == "date"
        and table.is_periodic
        and compared_columns(table)
    ]


def compared_columns(table: Table) -> list[Column]:
    """Numbers and categories of a table that are no part of its key."""
    return [
        column
        for column in table.columns
        if column.name not in {*table.key, *_LEFT_OUT} and (is_category(column) or column.is_number)
    ]


def is_category(column: Column) -> bool:
    """Returns whether a column has categories: text of few values."""
    return column.name in CATEGORIES and not column.is_number
