"""Formats of columns of dates, times and numbers, from the setting `source.formats`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import duckdb

from batch_predictions.sources.base import SourceError, raw_table
from batch_predictions.sources.validation.column_mapping import EXTRA_DATE_COLUMNS
from batch_predictions.sources.validation.number_formats import NumberFormat
from batch_predictions.tables import Table
from batch_predictions.warehouse.path_sql import quote_literal

_TIME_TYPES = ("DATE", "TIMESTAMP")
_NUMBER_TYPES = ("DOUBLE",)
_EXAMPLE = dt.datetime(2026, 3, 31, 13, 45)


def validate_formats(formats: Mapping[str, Mapping[str, str]]) -> None:
    """Checks the columns and the formats of the setting `source.formats`.

    Raises:
        SourceError: a table or column is unknown, or a format is not valid or lacks the day, month
            or year; the message says what to write.
    """
    for table_name, columns in formats.items():
        table = raw_table(table_name, "source.formats")
        times = [*_columns_of_types(table, _TIME_TYPES), *EXTRA_DATE_COLUMNS.get(table_name, ())]
        numbers = _columns_of_types(table, _NUMBER_TYPES)
        for name, format_ in columns.items():
            setting = f"source.formats.{table_name}.{name}"
            if name in numbers:
                NumberFormat.parse(setting, format_)
            elif name in times:
                _validate_time_format(setting, format_)
            else:
                raise SourceError(
                    f"{setting}: raw.{table_name} has no such column of dates, times or numbers; "
                    f"write one of {', '.join([*times, *numbers])}"
                )


def is_number_column(table: Table, name: str) -> bool:
    """Returns whether formats of a column are those of numbers."""
    return name in _columns_of_types(table, _NUMBER_TYPES)


def iso_sql(value: str, format_: str) -> str:
    """SQL of a date or time of a strptime format as ISO 8601; other values stay unchanged."""
    text = f"trim({value}::VARCHAR)"
    parsed = f"try_strptime({text}, {quote_literal(format_)})"
    if "%z" in format_:
        iso = f"strftime({parsed} at time zone 'UTC', '%Y-%m-%d %H:%M:%S.%f+00')"
    elif any(directive in format_ for directive in ("%H", "%-H", "%I", "%-I")):
        iso = f"strftime({parsed}, '%Y-%m-%d %H:%M:%S.%f')"
    else:
        iso = f"strftime({parsed}, '%Y-%m-%d')"
    return f"coalesce({iso}, {text})"


def _columns_of_types(table: Table, types: tuple[str, ...]) -> list[str]:
    return [column.name for column in table.columns if column.type in types]


def _validate_time_format(setting: str, format_: str) -> None:
    example = "write a strptime format such as '%d.%m.%Y %H:%M' or '%m/%d/%Y'"
    with duckdb.connect() as db:
        try:
            row = db.execute(
                "select try_strptime(strftime($time::TIMESTAMP, $format), $format)::DATE",
                {"time": _EXAMPLE, "format": format_},
            ).fetchone()
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise SourceError(
                f"{setting} {format_!r} is not valid ({reason}): {example}"
            ) from error
    if row != (_EXAMPLE.date(),):
        raise SourceError(f"{setting} {format_!r} has no day, month and year: {example}")
