"""SQL of the rows of a daily table with their business days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from batch_predictions.sources.base import MAX_DATE
from batch_predictions.sources.rows.file_rows import FILE_NAME, LINE_ERROR, FileRows
from batch_predictions.sources.rows.weekly_spans import (
    count_file_days,
    has_problems,
    newest_file_days,
)
from batch_predictions.sources.validation.column_mapping import TIME_COLUMNS
from batch_predictions.sources.validation.timestamps import (
    DayRules,
    day_problem_sql,
    day_sql,
    is_missing_sql,
    timestamp_sql,
)
from batch_predictions.tables import Table
from batch_predictions.warehouse.path_sql import days_condition, quote_literal


def daily_rows_sql(
    db: duckdb.DuckDBPyConnection,
    table: Table,
    rows: FileRows,
    columns: Mapping[str, str],
    rules: DayRules,
    partitions: Sequence[str] | None,
) -> str:
    """A query for the rows of days, as `Source.rows_sql` returns it.

    Args:
        db: connection in which temporary tables are created.
        table: the daily table.
        rows: the rows as read.
        columns: column of the raw table to SQL over the files' columns.
        rules: how rows get their day.
        partitions: days to return; None: all.
    """
    timestamp = TIME_COLUMNS.get(table.name)
    time_columns = ("date", timestamp)
    select_list = rows.select_list(
        {name: sql for name, sql in columns.items() if name not in time_columns}
    )
    if timestamp:
        select_list += f", __timestamp as {timestamp}"
    dated = dated_rows_sql(db, table, rows, columns, rules)
    if rules.undated_day:
        return (
            f"select * from (select {partition_day_sql('__day', rules)} as date, {select_list}, "
            f"__problem as problem from ({dated})) where {days_condition('date', partitions)}"
        )
    is_kept = f"__problem is null and not {rows.left_out}"
    counts = count_file_days(db, dated, "__day", is_kept)
    if not has_problems(db, counts):
        # If all days are readable, the condition is pushed down to the scan of the files.
        return (
            f"select __day as date, {select_list}, __problem as problem from ({dated}) "
            f"where {days_condition('__day', partitions)}"
        )
    last_over = rules.last_day_over
    if last_over is not None and last_over < rules.first_day:
        last_over = None
    newest = newest_file_days(db, counts, rules.default_date, rules.last_day, last_over)
    return (
        "select * from (select case when __problem is null then __day else __newest end as date, "
        f"{select_list}, __problem as problem from ({dated}) "
        f"join temp.{newest} using ({FILE_NAME})) where {days_condition('date', partitions)}"
    )


def partition_day_sql(day: str, rules: DayRules) -> str:
    """SQL of the partition of a row by its day: `rules.undated_day` if the day is not plausible."""
    return (
        f"case when {day} between DATE '{rules.first_day}' and DATE '{MAX_DATE}' then {day} "
        f"else DATE '{rules.undated_day}' end"
    )


def dated_rows_sql(
    db: duckdb.DuckDBPyConnection,
    table: Table,
    rows: FileRows,
    columns: Mapping[str, str],
    rules: DayRules,
) -> str:
    """A query for all rows with their day.

    Further columns: `__timestamp` in UTC; `__day`, null if it is unreadable; `__problem`, why the
    row belongs to no day.
    """
    timestamp = TIME_COLUMNS.get(table.name, "")
    day_value = columns.get("date") or columns.get(timestamp)
    if day_value is None:
        return (
            f"select *, null::TIMESTAMP as __timestamp, DATE '{rules.default_date}' as __day, "
            f"{LINE_ERROR} as __problem from {rows.relation}"
        )
    time_value = columns.get(timestamp) or day_value
    (_, day_type, *_), (_, time_type, *_) = db.execute(
        f"describe select {day_value} as day, {time_value} as time from {rows.relation}"
    ).fetchall()
    zone = rules.naive_zone
    timestamps = (
        f"select *, {timestamp_sql(time_value, time_type, zone)} as __timestamp, "
        f"{timestamp_sql(day_value, day_type, zone)} as __day_timestamp from {rows.relation}"
    )
    day = day_sql(day_value, day_type, rules.timezone, timestamp="__day_timestamp")
    name = "date" if "date" in columns else timestamp
    problems = [
        LINE_ERROR,  # first, because the fields of a damaged line are unreliable
        day_problem_sql(name, day_value, day_type, "__day", rules),
    ]
    if "date" in columns and timestamp in columns:
        problems += _timestamp_problems(timestamp, time_value, time_type, rules.timezone)
    return (
        f"select *, coalesce({', '.join(problems)}) as __problem from "
        f"(select * exclude (__day_timestamp), {day} as __day from ({timestamps}))"
    )


def _timestamp_problems(name: str, value: str, type_: str, timezone: str) -> list[str]:
    """SQL of the reasons that concern the timestamp of a row that also has a date."""
    is_distant = "abs(__timestamp::DATE - __day) > 2"
    distant = quote_literal(f"date and {name} are more than two days apart: correct one of them")
    day = day_sql(value, type_, timezone, timestamp="__timestamp")
    is_unreadable = f"not {is_missing_sql(value, type_)} and {day} is null"
    unreadable = quote_literal(f"{name} is not a time: write 2024-01-31 13:45:00+00:00")
    return [
        f"case when {is_distant} then {distant} end",
        f"case when {is_unreadable} then {unreadable} end",
    ]
