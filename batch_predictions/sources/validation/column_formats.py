"""Formats of columns of dates and times, from the setting `source.formats`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import duckdb

from batch_predictions.sources.base import RAW_TABLES, SourceError
from batch_predictions.sources.sql_literals import quote_literal

_TIME_TYPES = ("DATE", "TIMESTAMP")
_EXAMPLE = dt.datetime(2026, 3, 31, 13, 45)


def validate_formats(formats: Mapping[str, Mapping[str, str]]) -> None:
    """Checks `source.formats`.

    Raises:
        SourceError: a table or column is unknown, or a format is not valid or lacks the day, month
            or year; the message says what to write.
    """
    tables = {table.name: table for table in RAW_TABLES}
    for table_name, columns in formats.items():
        if table_name not in tables:
            raise SourceError(
                f"source.formats.{table_name}: there is no raw table {table_name}; write one of "
                f"{', '.join(sorted(tables))}"
            )
        names = [c.name for c in tables[table_name].columns if c.type in _TIME_TYPES]
        for name, format_ in columns.items():
            setting = f"source.formats.{table_name}.{name}"
            if name not in names:
                raise SourceError(
                    f"{setting}: raw.{table_name} has no such column of dates or times; write one "
                    f"of {', '.join(names)}"
                )
            _validate_format(setting, format_)


def apply_formats(columns: Mapping[str, str], formats: Mapping[str, str]) -> dict[str, str]:
    """SQL of the columns, with values of the declared formats as ISO 8601.

    Other values stay unchanged, and are validated like those of columns without a format.

    Args:
        columns: column of the raw table to SQL over the files' columns.
        formats: column of the raw table to strptime format.

    Raises:
        SourceError: there is a format of a column that the files do not have.
    """
    for name in formats:
        if name not in columns:
            raise SourceError(
                f"source.formats has a format of {name}, but no column of the files is mapped to "
                "it: map one in source.columns, or remove the format"
            )
    return {
        name: _iso_sql(sql, formats[name]) if name in formats else sql
        for name, sql in columns.items()
    }


def _iso_sql(value: str, format_: str) -> str:
    text = f"trim({value}::VARCHAR)"
    parsed = f"try_strptime({text}, {quote_literal(format_)})"
    if "%z" in format_:
        iso = f"strftime({parsed} at time zone 'UTC', '%Y-%m-%d %H:%M:%S.%f+00')"
    elif any(directive in format_ for directive in ("%H", "%-H", "%I", "%-I")):
        iso = f"strftime({parsed}, '%Y-%m-%d %H:%M:%S.%f')"
    else:
        iso = f"strftime({parsed}, '%Y-%m-%d')"
    return f"coalesce({iso}, {text})"


def _validate_format(setting: str, format_: str) -> None:
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
