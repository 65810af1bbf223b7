"""SQL of the rows of a weekly table, such as promotions, which are known ahead.

A row names its week by any day of the week, or by its first and last day. A promotion of several
weeks has one row for each of them.

Rows that have no day of their own have the newest of their file. A day far after the others, such
as one of 2062, is not it: the rows would wait for that day.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

import duckdb

from batch_predictions.sources.base import MAX_DATE
from batch_predictions.sources.rows.file_rows import FILE_NAME, LINE_ERROR, FileRows
from batch_predictions.sources.validation.plausible_days import last_plausible_day
from batch_predictions.sources.validation.timestamps import (
    DayRules,
    day_problem_sql,
    day_sql,
    is_missing_sql,
)
from batch_predictions.tables import week_of
from batch_predictions.warehouse.path_sql import date_list


def count_file_days(db: duckdb.DuckDBPyConnection, dated: str, day: str, is_kept: str) -> str:
    """The name of a temporary table of numbers of rows by file and day.

    Args:
        db: connection in which it is created.
        dated: a query for rows with `FILE_NAME` and `__problem`, why a row has no day.
        day: SQL of the day.
        is_kept: SQL of whether a row has a day and is not left out.
    """
    name = f"days_{uuid.uuid4().hex}"
    db.execute(
        f"create temp table {name} as select {FILE_NAME}, {day} as __day, "
        f"count(__problem) as problems, count(*) filter ({is_kept}) as kept "
        f"from ({dated}) group by all"
    )
    return name


def has_problems(db: duckdb.DuckDBPyConnection, counts: str) -> bool:
    """Returns whether a row has no day of its own; `counts` is a table of `count_file_days`."""
    return bool(
        db.execute(f"select exists (from temp.{counts} where problems > 0)").fetchall()[0][0]
    )


def newest_file_days(
    db: duckdb.DuckDBPyConnection,
    counts: str,
    default: dt.date,
    last: dt.date | None = None,
    last_over: dt.date | None = None,
) -> str:
    """The name of a temporary table with the newest day of each file, as `__newest`.

    Args:
        db: connection of the tables.
        counts: a table of `count_file_days`.
        default: day of a file whose rows have none.
        last: later days do not count; None: the last that is not far after the others.
        last_over: this day instead of a later one; None: any day.
    """
    if last is None:
        days = f"select __day, sum(kept)::BIGINT from temp.{counts} where kept > 0 group by all"
        last = last_plausible_day(dict(db.execute(days).fetchall())) or default
    name = f"newest_{uuid.uuid4().hex}"
    newest = f"max(__day) filter (kept > 0 and __day <= DATE '{last}')"
    db.execute(
        f"create temp table {name} as select {FILE_NAME}, least(coalesce({newest}, "
        f"DATE '{default}'), DATE '{last_over or MAX_DATE}') as __newest "
        f"from temp.{counts} group by all"
    )
    return name


SPAN_COLUMNS = ("week", "starts_on", "ends_on")
"""Columns that say when a row of a weekly table is in force."""


def weekly_rows_sql(
    db: duckdb.DuckDBPyConnection,
    rows: FileRows,
    columns: Mapping[str, str],
    rules: DayRules,
    weeks: Sequence[str] | None,
) -> str:
    """A query for the rows of weeks, as `Source.rows_sql` returns it.

    Rows whose weeks are all before the home's first week are not refused, but are in no partition
    that is ingested.

    Args:
        db: connection in which temporary tables are created.
        rows: the rows as read.
        columns: column of the raw table to SQL over the files' columns.
        rules: how rows get their day.
        weeks: Mondays of the weeks to return; None: all.
    """
    select_list = rows.select_list(
        {name: sql for name, sql in columns.items() if name not in SPAN_COLUMNS}
    )
    spans = weekly_spans_sql(db, rows, columns, rules)
    is_kept = f"__problem is null and not {rows.left_out}"
    counts = count_file_days(db, spans, "__last_week", is_kept)
    newest = newest_file_days(db, counts, week_of(rules.default_date))
    row_weeks = _weeks_between(
        "coalesce(__first_week, __newest)", "coalesce(__last_week, __newest)", weeks
    )
    return (
        f"select unnest({row_weeks})::DATE as date, {select_list}, __problem as problem, "
        f"__first_day as starts_on, __last_day as ends_on from ({spans}) "
        f"join temp.{newest} using ({FILE_NAME})"
    )


def weekly_spans_sql(
    db: duckdb.DuckDBPyConnection,
    rows: FileRows,
    columns: Mapping[str, str],
    rules: DayRules,
) -> str:
    """A query for all rows with their days and weeks.

    Further columns: `__first_day` and `__last_day`; `__first_week` and `__last_week`, their
    Mondays, null if no day is readable; `__problem`, why the row belongs to no week. If there is a
    column `week`, it decides the week and the others must fit.
    """
    present = [name for name in SPAN_COLUMNS if name in columns]
    described = ", ".join(f"{columns[name]} as {name}" for name in present)
    types = {
        row[0]: row[1]
        for row in db.execute(f"describe select {described} from {rows.relation}").fetchall()
    }
    # Promotions may begin before the home does.
    rules = replace(rules, first_day=dt.date.min)
    days, problems = [], []
    for name in SPAN_COLUMNS:
        if name not in present:
            days.append(f"null::DATE as __{name}")
            problems.append(f"null::VARCHAR as __{name}_problem")
            continue
        value, type_ = columns[name], types[name]
        days.append(f"{day_sql(value, type_, rules.timezone, rules.naive_zone)} as __{name}")
        problem = day_problem_sql(name, value, type_, f"__{name}", rules)
        if name != "week" and "week" in present:
            # If there is a week, days may be missing.
            problem = f"case when not {is_missing_sql(value, type_)} then {problem} end"
        problems.append(f"{problem} as __{name}_problem")
    coalesced = ", ".join(f"__{name}_problem" for name in SPAN_COLUMNS)
    with_problems = (
        f"select *, coalesce({LINE_ERROR}, {coalesced}) as __problem from "
        f"(select *, {', '.join(problems)} from "
        f"(select *, {', '.join(days)} from {rows.relation}))"
    )
    week = _monday("__week")
    first_week, last_week = _week_range_sql(has_week="week" in present)
    return (
        f"select *, coalesce(__starts_on, {week}) as __first_day, "
        f"coalesce(__ends_on, {week} + 6) as __last_day, {first_week} as __first_week, "
        f"{last_week} as __last_week from ({with_problems})"
    )


def _week_range_sql(has_week: bool) -> tuple[str, str]:
    """SQL of the Mondays of a row's first and last week; null if no day is readable."""
    if has_week:
        week = f"case when __week_problem is null then {_monday('__week')} end"
        return week, week
    first = (
        f"coalesce(case when __starts_on_problem is null then {_monday('__starts_on')} end, "
        f"case when __ends_on_problem is null then {_monday('__ends_on')} end)"
    )
    last = (
        f"case when __problem is null then {_monday('greatest(__starts_on, __ends_on)')} "
        f"else {first} end"
    )
    return first, last


def _monday(day: str) -> str:
    """SQL of the Monday of a day's week."""
    return f"date_trunc('week', {day})::DATE"


def _weeks_between(first: str, last: str, weeks: Sequence[str] | None) -> str:
    """SQL of the list of Mondays from `first` to `last`, or of those of them in `weeks`."""
    if weeks is None:
        return f"generate_series({first}, {last}, interval 7 days)"
    # Not by filtering all weeks: a promotion without an end has thousands.
    return f"list_filter([{date_list(weeks)}]::DATE[], lambda w: w between {first} and {last})"
