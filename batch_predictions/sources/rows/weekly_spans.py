"""SQL of the rows of a weekly table, such as promotions, which are known ahead.

A row names its week by any day of the week, or by its first and last day. A promotion of several
weeks has one row for each of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace

import duckdb

from batch_predictions.sources.rows.file_rows import FILE_NAME, LINE_ERROR, FileRows
from batch_predictions.sources.rows.undated_rows import count_file_days, newest_file_days
from batch_predictions.sources.validation.timestamps import (
    DayRules,
    day_problem_sql,
    day_sql,
    is_missing_sql,
)
from batch_predictions.tables import week_of
from batch_predictions.warehouse.sql_literals import date_list

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
        days.append(f"{day_sql(value, type_, rules.timezone)} as __{name}")
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
