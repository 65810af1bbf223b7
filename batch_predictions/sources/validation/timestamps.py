"""SQL expressions of business days and timestamps, from the time formats that sources use.

- A DATE, or a text that is a date alone, is the business day itself and is not shifted.
- A time with an offset (`-05:00`, ` -0500`), or a TIMESTAMP WITH TIME ZONE, is converted to the
  source's time zone.
- A time without an offset is UTC, or of `naive_zone`; an offset beyond 14 hours is not read.
- Dates and times may have English month names.
- A number is Unix time in seconds, milliseconds, microseconds or nanoseconds, decided by its size;
  a number of eight digits such as 20240131 is a date.

In all functions, `value` is SQL of the value as read, `type_` is its DuckDB type, and `naive_zone`
is the time zone of times without an offset.

English month names, such as those of `Jun 5, 2026` and RFC 2822, are unambiguous, unlike
`05/06/2026`. In their functions, `text` is SQL of the trimmed text.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass

from batch_predictions.sources.base import MAX_DATE
from batch_predictions.warehouse.path_sql import quote_literal

_DATES = (
    "%b %d, %Y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%B %d, %Y",
    "%d %B %Y",
    "%b %d %Y",
    "%B %d %Y",
    "%a, %d %b %Y",
    "%A, %B %d, %Y",
)
_CLOCKS = ("%H:%M:%S", "%H:%M", "%I:%M %p", "%I:%M:%S %p")
_TIMES = tuple(f"{date}{gap}{clock}" for date in _DATES for gap in (" ", ", ") for clock in _CLOCKS)
_ZONED_TIMES = tuple(f"{date} %H:%M:%S %z" for date in ("%a, %d %b %Y", "%d %b %Y"))
_MONTH_NAME = r"'(?i)\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b'"


def has_month_name_sql(text: str) -> str:
    """SQL of whether a text has the name of a month."""
    return f"regexp_matches({text}, {_MONTH_NAME})"


def month_name_timestamp_sql(text: str) -> str:
    """SQL of the timestamp in UTC; null for a date alone and for other texts.

    A time without an offset, or with `GMT` or `UTC`, is UTC.
    """
    local = f"regexp_replace({text}, ' (GMT|UTC|Z)$', '')"
    return (
        f"coalesce(try_strptime({text}, {_sql_list(_ZONED_TIMES)}) at time zone 'UTC', "
        f"try_strptime({local}, {_sql_list(_TIMES)}))"
    )


def month_name_date_sql(text: str) -> str:
    """SQL of the date of a text that is a date alone; null for other texts."""
    # DuckDB would read words such as `infinity`.
    return (
        f"case when {has_month_name_sql(text)} "
        f"then try_strptime({text}, {_sql_list(_DATES)})::DATE end"
    )


def _sql_list(formats: Iterable[str]) -> str:
    return f"[{', '.join(repr(text) for text in formats)}]"


_NUMBER_TYPE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL\(\d+,\d+\)")
_DATE_PATTERN = r"'\d{4}[-/]\d{1,2}[-/]\d{1,2}'"
_COMPACT_DATE_PATTERN = r"'(19|20)\d{6}'"
_NUMBER_PATTERN = r"'-?\d+(\.\d+)?([eE]\+?\d+)?'"
_IMPOSSIBLE_OFFSET = r"':\d\d(\.\d+)?\s*[+-](1[5-9]|[2-9]\d|14:?(0[1-9]|[1-5]\d)|\d\d:?[6-9]\d)'"
"""Offsets from UTC beyond 14 hours, or with more than 59 minutes."""
_HAS_OFFSET = r"'(:\d\d(\.\d+)?|[AP]M)\s*([+-]\d{2}(:?\d{2})?|Z|UTC|GMT)$', 'i'"
"""A text whose time has an offset or is UTC."""
NULL_TEXTS = "('', 'nan', 'nat', 'null', 'none', '<na>', 'n/a', '#n/a', 'undefined')"
"""SQL list of texts, in lower case, that mean a missing value."""


@dataclass(frozen=True)
class DayRules:
    """The rules by which rows get their business day.

    Attributes:
        timezone: time zone of the business day.
        naive_zone: time zone of times without an offset.
        earliest: rows of earlier days are refused as implausible.
        first_day: rows of days before it are refused, because the home begins on it.
        default_date: day of rows if the table has no column of a time.
        undated_day: partition of rows without a plausible day; None: the newest day of their file.
        last_day: the newest day that a file can have for this; None: the last day of its table that
            is not far after the others.
        last_day_over: the last day that was over when the newest file was written: rows without a
            plausible day wait for no later one, but in a home of no earlier one; None: not known.
    """

    timezone: str
    earliest: dt.date
    first_day: dt.date
    default_date: dt.date
    undated_day: dt.date | None = None
    last_day: dt.date | None = None
    naive_zone: str = "UTC"
    last_day_over: dt.date | None = None


def timestamp_sql(value: str, type_: str, naive_zone: str = "UTC") -> str:
    """SQL of the timestamp in UTC; null for a date alone and for unreadable values."""
    if type_ == "TIMESTAMP WITH TIME ZONE":
        return f"case when isfinite({value}) then {value} at time zone 'UTC' end"
    if type_.startswith("TIMESTAMP"):
        return f"case when isfinite({value}) then {_in_utc(f'{value}::TIMESTAMP', naive_zone)} end"
    if type_ == "DATE":
        return "null::TIMESTAMP"
    if _is_number(type_):
        return f"case when not {_is_compact_date(value)} then {_from_unix(f'{value}::DOUBLE')} end"
    text = f"trim({value}::VARCHAR)"
    if naive_zone != "UTC":
        is_utc = (
            f"regexp_full_match({text}, {_NUMBER_PATTERN}) or regexp_matches({text}, {_HAS_OFFSET})"
        )
        zone = f"case when {is_utc} then 'UTC' else {quote_literal(naive_zone)} end"
        return f"({timestamp_sql(value, type_)} at time zone ({zone}) at time zone 'UTC')"
    return (
        f"case when regexp_full_match({text}, {_DATE_PATTERN}) "
        f"or regexp_full_match({text}, {_COMPACT_DATE_PATTERN}) "
        f"or regexp_matches({text}, {_IMPOSSIBLE_OFFSET}) then null "
        f"when regexp_full_match({text}, {_NUMBER_PATTERN}) "
        f"then {_from_unix(f'try_cast({text} as DOUBLE)')} "
        # DuckDB would read words such as `infinity` and `epoch` as times.
        f"when regexp_matches({text}, '^\\d') then coalesce("
        f"try_cast({text} as TIMESTAMPTZ) at time zone 'UTC', "
        f"try_cast({_with_iso_offset(text)} as TIMESTAMPTZ) at time zone 'UTC', "
        f"{month_name_timestamp_sql(text)}) "
        f"when {has_month_name_sql(text)} then {month_name_timestamp_sql(text)} end"
    )


def day_sql(
    value: str,
    type_: str,
    timezone: str,
    naive_zone: str = "UTC",
    timestamp: str | None = None,
) -> str:
    """SQL of the business day; null for unreadable values.

    Args:
        value: SQL of the value as read.
        type_: its DuckDB type.
        timezone: the source's time zone.
        naive_zone: time zone of times without an offset.
        timestamp: SQL of the value's timestamp, if a column holds it already.
    """
    local_day = local_day_sql(timestamp or timestamp_sql(value, type_, naive_zone), timezone)
    if type_ == "DATE":
        return f"case when isfinite({value}) then {value} end"
    if type_.startswith("TIMESTAMP"):
        return local_day
    if _is_number(type_):
        digits = f"{value}::BIGINT::VARCHAR"
        return (
            f"case when {_is_compact_date(value)} then try_strptime({digits}, '%Y%m%d')::DATE "
            f"else {local_day} end"
        )
    text = f"trim({value}::VARCHAR)"
    return (
        f"case when regexp_full_match({text}, {_DATE_PATTERN}) then try_cast({text} as DATE) "
        f"when regexp_full_match({text}, {_COMPACT_DATE_PATTERN}) "
        f"then try_strptime({text}, '%Y%m%d')::DATE "
        f"else coalesce({local_day}, {month_name_date_sql(text)}) end"
    )


def local_day_sql(timestamp: str, timezone: str) -> str:
    """SQL of the business day of a timestamp in UTC."""
    if timezone == "UTC":
        return f"({timestamp})::DATE"
    return f"(({timestamp}) at time zone 'UTC' at time zone {quote_literal(timezone)})::DATE"


def _in_utc(naive: str, zone: str) -> str:
    """SQL of a time of a time zone in UTC."""
    if zone == "UTC":
        return naive
    return f"({naive} at time zone {quote_literal(zone)} at time zone 'UTC')"


def is_missing_sql(value: str, type_: str) -> str:
    """SQL of whether a value is null, NaN, empty or one of `NULL_TEXTS`."""
    if type_ in ("DOUBLE", "FLOAT"):
        return f"({value} is null or isnan({value}))"
    if type_ == "VARCHAR":
        return f"({value} is null or lower(trim({value})) in {NULL_TEXTS})"
    return f"({value} is null)"


def day_problem_sql(name: str, value: str, type_: str, day: str, rules: DayRules) -> str:
    """SQL of the reason why a row belongs to no partition; null if it belongs to one.

    Args:
        name: name of the column, for the reason.
        value: SQL of the value as read.
        type_: its DuckDB type.
        day: SQL of its business day, from `day_sql`.
        rules: the plausible days.
    """
    earliest, first_day = rules.earliest, rules.first_day
    shown = f"{quote_literal(name + ' ')} || left({value}::VARCHAR, 60)"
    quoted = f"{quote_literal(name + ' ')} || '''' || left({value}::VARCHAR, 60)"
    return (
        f"case when {is_missing_sql(value, type_)} "
        f"then {quote_literal(f'{name} is empty: give every row its time, or map a column to it')} "
        # A year of two digits is read as one of the first century.
        f"when {day} is null or {day} < DATE '1000-01-01' then {quoted} || "
        "''' is not a time: write 2024-01-31, 2024-01-31 13:45:00+00:00, 31 Jan 2024 or Unix "
        "seconds, or set source.formats to its format, such as %d.%m.%Y %H:%M' "
        f"when {day} < DATE '{earliest}' then {quoted} || "
        f"case when try_cast({value}::VARCHAR as DOUBLE) between 20000 and 80000 then "
        f"''' is before {earliest}: of a serial day of a spreadsheet, write the day, such as "
        "DATE ''1899-12-30'' + 45293, with source.queries' else "
        f"''' is before {earliest}: correct it, or set source.earliest to an earlier day' end "
        f"when {day} > DATE '{MAX_DATE}' then {quoted} || "
        f"''' is after {MAX_DATE.year}: correct it' "
        f"when {day} < DATE '{first_day}' then {shown} || "
        f"' is before the first day of this home, {first_day}: correct it; or include it with "
        "`batch-predictions first-day DATE`, in a new home with the setting source.earliest' end"
    )


def _is_number(type_: str) -> bool:
    return _NUMBER_TYPE.fullmatch(type_) is not None


def _with_iso_offset(text: str) -> str:
    """SQL of a text whose offset is written as in ISO 8601: ` -0500` becomes `-05:00`."""
    return rf"regexp_replace({text}, '\s*([+-](?:0\d|1[0-4])):?([0-5]\d)$', '\1:\2')"


def _is_compact_date(value: str) -> str:
    """SQL of whether a number is a date of eight digits."""
    return f"({value} between 19000101 and 20991231)"


def _from_unix(number: str) -> str:
    """SQL of the timestamp of a Unix time in seconds, or a finer unit if it is large."""
    seconds = (
        f"case when abs({number}) > 1e17 then {number} / 1e9 "
        f"when abs({number}) > 1e14 then {number} / 1e6 "
        f"when abs({number}) > 1e11 then {number} / 1e3 else {number} end"
    )
    # Dates end with the year 9999; NaN compares as greater than every number.
    return (
        f"case when abs({number}) < 1e20 and abs({seconds}) < 253402300799 "
        f"then make_timestamp((({seconds}) * 1e6)::BIGINT) end"
    )
