"""Weeks of rows that are known ahead, such as promotions, as SQL expressions.

A row names its week by any day of it, or its first and last day; a promotion of several weeks
stands in each of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import duckdb

from batch_predictions.sources.base import day_list
from batch_predictions.sources.delimited import DAMAGE, DelimitedFile
from batch_predictions.sources.validation import timestamps as moments

DATED = ("week", "starts_on", "ends_on")
"""Columns that say when a row of a weekly table is in force."""


def monday(day: str) -> str:
    """SQL of the Monday of a day's week."""
    return f"date_trunc('week', {day})::DATE"


def weekly_spans(
    db: duckdb.DuckDBPyConnection,
    raw: DelimitedFile,
    shape: Mapping[str, str],
    timezone: str,
    earliest: dt.date,
) -> str:
    """SQL of the rows with their days and weeks.

    Further columns: `__starts` and `__ends` DATE, the first and last day; `__first` and `__last`
    DATE, the Mondays of the first and last week, null where no day can be read; `__problem`
    VARCHAR, why a row has no weeks of its own. A column `week` decides over the days.

    Args:
        db: a connection that can read the rows.
        raw: the rows as read.
        shape: contract column to SQL over them; `week`, or `starts_on` and `ends_on`, at least.
        timezone: the source's time zone, for days that are given as moments.
        earliest: days before it are implausible.
    """
    given = [name for name in DATED if name in shape]
    listed = ", ".join(f"{shape[name]} as {name}" for name in given)
    types = {
        row[0]: row[1]
        for row in db.execute(f"describe select {listed} from {raw.relation}").fetchall()
    }
    days, reasons = [], []
    for name in DATED:
        if name not in given:
            days.append(f"null::DATE as __{name}")
            reasons.append(f"null::VARCHAR as __no_{name}")
            continue
        value, type_ = shape[name], types[name]
        days.append(
            f"{moments.day(value, type_, moments.moment(value, type_), timezone)} as __{name}"
        )
        problem = moments.day_problem(name, value, type_, f"__{name}", earliest, dt.date.min)
        if name != "week" and "week" in given:
            # The week is there: days are told where they differ from its own.
            problem = f"case when not {moments.missing(value, type_)} then {problem} end"
        reasons.append(f"{problem} as __no_{name}")
    told = (
        f"select *, coalesce({DAMAGE}, __no_week, __no_starts_on, __no_ends_on) as __problem from "
        f"(select *, {', '.join(reasons)} from "
        f"(select *, {', '.join(days)} from {raw.relation}))"
    )
    week = monday("__week")
    if "week" in given:
        first = last = f"case when __no_week is null then {week} end"
    else:
        first = (
            f"coalesce(case when __no_starts_on is null then {monday('__starts_on')} end, "
            f"case when __no_ends_on is null then {monday('__ends_on')} end)"
        )
        last = (
            f"case when __problem is null then {monday('greatest(__starts_on, __ends_on)')} "
            f"else {first} end"
        )
    return (
        f"select *, coalesce(__starts_on, {week}) as __starts, "
        f"coalesce(__ends_on, {week} + 6) as __ends, {first} as __first, {last} as __last "
        f"from ({told})"
    )


def weeks_between(first: str, last: str, wanted: Sequence[str] | None) -> str:
    """SQL of the list of Mondays from one to another, of those wanted where not None."""
    if wanted is None:
        return f"generate_series({first}, {last}, interval 7 days)"
    # Only what is asked for is made: a promotion without an end has thousands of weeks.
    return f"list_filter([{day_list(wanted)}]::DATE[], lambda w: w between {first} and {last})"
