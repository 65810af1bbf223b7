"""SQL of dates and times with English month names, such as `Jun 5, 2026` and RFC 2822.

They are unambiguous, unlike `05/06/2026`. In all functions, `text` is SQL of the trimmed text.
"""

from __future__ import annotations

from collections.abc import Iterable

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
