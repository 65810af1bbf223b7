"""Reads the values of a source's columns as the settings `source.formats` and `.values` say."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.validation.column_formats import is_number_column, iso_sql
from batch_predictions.sources.validation.column_rules import unread_column
from batch_predictions.sources.validation.number_formats import NumberFormat
from batch_predictions.sources.validation.timestamps import is_missing_sql
from batch_predictions.sources.validation.value_maps import (
    ValueMap,
    is_mapped_sql,
    mapped_value_sql,
)
from batch_predictions.tables import Table


def interpret_columns(
    table: Table,
    columns: Mapping[str, str],
    types: Mapping[str, str],
    formats: Mapping[str, str],
    values: Mapping[str, ValueMap],
) -> dict[str, str]:
    """SQL of the columns, with values in the form that the validation reads.

    Mapped values are replaced, whatever their format. Numbers of a declared format are written with
    a decimal point. Texts that contradict the format are null, and a further column, named by
    `unread_column`, has the reason. Dates and times of a declared format are written as ISO 8601;
    others are left to the validation.

    Args:
        table: the raw table.
        columns: column of the raw table to SQL over the source's columns.
        types: DuckDB types of these expressions.
        formats: the table's part of `source.formats`.
        values: the table's part of `source.values`.

    Raises:
        SourceError: there is a format or a map of a column that the source does not have.
    """
    require_columns(table, columns, formats, values)
    interpreted: dict[str, str] = {}
    for name, raw in columns.items():
        value, reason = raw, None
        if name in formats:
            value, reason = _formatted_sql(table, name, raw, types[name], formats[name])
        if value_map := values.get(name):
            value = mapped_value_sql(raw, value_map, f"({value})::VARCHAR")
            reason = reason and f"case when not {is_mapped_sql(raw, value_map)} then {reason} end"
        interpreted[name] = value
        if reason:
            interpreted[unread_column(name)] = reason
    return interpreted


def require_columns(
    table: Table,
    columns: Collection[str],
    formats: Mapping[str, str],
    values: Mapping[str, ValueMap],
) -> None:
    """Checks that columns with a format or a map exist.

    Args:
        table: the raw table.
        columns: columns of the raw table that the source has.
        formats: the table's part of `source.formats`.
        values: the table's part of `source.values`.

    Raises:
        SourceError: there is a format or a map of another column.
    """
    for setting, names in (("formats", formats), ("values", values)):
        for name in names:
            if name not in columns:
                raise SourceError(
                    f"source.{setting}.{table.name} has {name}, but no column of the source is "
                    f"mapped to it: map one in source.columns, or remove it from source.{setting}"
                )


def _formatted_sql(
    table: Table, name: str, raw: str, type_: str, format_: str
) -> tuple[str, str | None]:
    """SQL of a value of a declared format, and of the reason why it is not read."""
    if not is_number_column(table, name):
        return iso_sql(raw, format_), None
    if type_ != "VARCHAR":
        return raw, None  # a number already
    number_format = NumberFormat.parse(f"source.formats.{table.name}.{name}", format_)
    text = f"trim({raw})"
    value = number_format.value_sql(text)
    is_unread = f"({value}) is null and not {is_missing_sql(raw, type_)}"
    return value, f"case when {is_unread} then {number_format.reason_sql(name, text)} end"
