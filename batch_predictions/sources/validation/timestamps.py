"""Business days and moments out of whatever a source calls time, as SQL expressions.

A DATE, or a text of a date alone, is the business day itself and never shifted. An instant (with
offset, or TIMESTAMP WITH TIME ZONE) is converted to the source's time zone. Times without offset
are UTC, and numbers are unix seconds, or milli-, micro- or nanoseconds by their size; eight digits
such as 20240131 are a date.
"""

from __future__ import annotations

import datetime as dt
import re

from batch_predictions.sources.base import LATEST, quote_literal

_NUMBER_TYPE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL\(\d+,\d+\)")
_DATE = r"'\d{4}[-/]\d{1,2}[-/]\d{1,2}'"
_COMPACT = r"'(19|20)\d{6}'"
_NUMBER = r"'-?\d+(\.\d+)?([eE]\+?\d+)?'"
NOTHING = "('', 'nan', 'nat', 'null', 'none', '<na>')"
"""Texts, in small letters, that mean no value."""


def is_number(type_: str) -> bool:
    """Whether a DuckDB type is a number."""
    return _NUMBER_TYPE.fullmatch(type_) is not None


def moment(value: str, type_: str) -> str:
    """SQL of the moment in UTC; null for a date alone and for what cannot be read."""
    if type_ == "TIMESTAMP WITH TIME ZONE":
        return f"case when isfinite({value}) then {value} at time zone 'UTC' end"
    if type_.startswith("TIMESTAMP"):
        return f"case when isfinite({value}) then {value}::TIMESTAMP end"
    if type_ == "DATE":
        return "null::TIMESTAMP"
    if is_number(type_):
        return f"case when not {_compact_number(value)} then {_unix(f'{value}::DOUBLE')} end"
    text = f"trim({value}::VARCHAR)"
    return (
        f"case when regexp_full_match({text}, {_DATE}) or regexp_full_match({text}, {_COMPACT}) "
        f"then null when regexp_full_match({text}, {_NUMBER}) "
        f"then {_unix(f'try_cast({text} as DOUBLE)')} "
        # Words such as `infinity` and `epoch` are times to DuckDB.
        f"when regexp_matches({text}, '^\\d') "
        f"then try_cast({text} as TIMESTAMPTZ) at time zone 'UTC' end"
    )


def day(value: str, type_: str, moment_: str, timezone: str) -> str:
    """SQL of the business day; null where it cannot be read.

    Args:
        value: SQL of the value as read.
        type_: its DuckDB type.
        moment_: SQL of its moment, from `moment`.
        timezone: the source's time zone.
    """
    local = local_day(moment_, timezone)
    if type_ == "DATE":
        return f"case when isfinite({value}) then {value} end"
    if type_.startswith("TIMESTAMP"):
        return local
    if is_number(type_):
        digits = f"{value}::BIGINT::VARCHAR"
        return (
            f"case when {_compact_number(value)} then try_strptime({digits}, '%Y%m%d')::DATE "
            f"else {local} end"
        )
    text = f"trim({value}::VARCHAR)"
    return (
        f"case when regexp_full_match({text}, {_DATE}) then try_cast({text} as DATE) "
        f"when regexp_full_match({text}, {_COMPACT}) then try_strptime({text}, '%Y%m%d')::DATE "
        f"else {local} end"
    )


def local_day(moment_: str, timezone: str) -> str:
    """SQL of the business day of a moment in UTC."""
    if timezone == "UTC":
        return f"({moment_})::DATE"
    return f"(({moment_}) at time zone 'UTC' at time zone {quote_literal(timezone)})::DATE"


def missing(value: str, type_: str) -> str:
    """SQL: whether a value is null, empty, or a word or number for nothing."""
    if type_ in ("DOUBLE", "FLOAT"):
        return f"({value} is null or isnan({value}))"
    if type_ == "VARCHAR":
        return f"({value} is null or lower(trim({value})) in {NOTHING})"
    return f"({value} is null)"


def day_problem(
    name: str, value: str, type_: str, day_: str, earliest: dt.date, first_day: dt.date
) -> str:
    """SQL of the reason why a row has no partition of its own; null where it has one."""
    shown = f"left({value}::VARCHAR, 60)"
    return (
        f"case when {missing(value, type_)} "
        f"then {quote_literal(f'{name} is empty: give every row its time, or map a column to it')} "
        f"when {day_} is null then {quote_literal(name + ' ')} || '''' || {shown} || "
        "''' is not a time: write 2024-01-31, 2024-01-31 13:45:00+00:00 or unix seconds' "
        f"when {day_} < DATE '{earliest}' then {quote_literal(name + ' ')} || {shown} || "
        f"' lies before {earliest}: correct it, or lower source.earliest' "
        f"when {day_} >= DATE '{LATEST}' then {quote_literal(name + ' ')} || {shown} || "
        f"' lies after {LATEST.year - 1}: correct it' "
        f"when {day_} < DATE '{first_day}' then {quote_literal(name + ' ')} || {shown} || "
        f"' lies before the first day of this home, {first_day}: begin a new home folder with "
        "--home to take it in' end"
    )


def _compact_number(value: str) -> str:
    return f"({value} between 19000101 and 20991231)"


def _unix(number: str) -> str:
    """SQL of the moment of a unix time in seconds, or finer by its size."""
    seconds = (
        f"case when abs({number}) > 1e17 then {number} / 1e9 "
        f"when abs({number}) > 1e14 then {number} / 1e6 "
        f"when abs({number}) > 1e11 then {number} / 1e3 else {number} end"
    )
    # Beyond the year 9999 there is no date; NaN compares as greater than everything.
    return (
        f"case when abs({number}) < 1e20 and abs({seconds}) < 253402300799 "
        f"then make_timestamp((({seconds}) * 1e6)::BIGINT) end"
    )
