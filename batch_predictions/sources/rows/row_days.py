"""Counts the days of the rows of a table: their range, rows by day, reasons without a day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import duckdb

from batch_predictions.sources.base import MAX_DATE
from batch_predictions.sources.rows.daily_rows import dated_rows_sql
from batch_predictions.sources.rows.row_groups import RowGroup
from batch_predictions.sources.rows.weekly_spans import weekly_spans_sql
from batch_predictions.sources.validation.timestamps import DayRules
from batch_predictions.tables import Table


def group_day_range(
    db: duckdb.DuckDBPyConnection,
    table: Table,
    groups: Sequence[RowGroup],
    rules: DayRules,
    through: dt.date = MAX_DATE,
) -> tuple[dt.date, dt.date] | None:
    """First and newest readable day of a daily or weekly table; None if no row has one.

    Args:
        db: connection of the rows.
        table: the table.
        groups: its rows.
        rules: how rows get their day.
        through: rows of later days do not count.
    """
    queries = []
    for group in groups:
        rows = group.rows
        if table.partition == "week":
            dated = weekly_spans_sql(db, rows, group.columns, rules)
            first_day, last_day = "__first_day", "__last_day"
        else:
            dated = dated_rows_sql(db, table, rows, group.columns, rules)
            first_day = last_day = "__day"
        queries.append(
            f"select min({first_day}) as first, max({last_day}) as last from ({dated}) "
            f"where __problem is null and not {rows.left_out} and {last_day} <= DATE '{through}'"
        )
    row = db.execute(
        f"select min(first), max(last) from ({' union all '.join(queries)})"
    ).fetchone()
    return (row[0], row[1]) if row and row[0] else None


def count_row_days(
    db: duckdb.DuckDBPyConnection, table: Table, groups: Sequence[RowGroup], rules: DayRules
) -> dict[dt.date, int]:
    """Rows of a daily table by readable day, without those that a condition leaves out."""
    queries = (
        f"select __day as day from ({dated_rows_sql(db, table, g.rows, g.columns, rules)}) "
        f"where __problem is null and not {g.rows.left_out}"
        for g in groups
    )
    query = f"select day, count(*) from ({' union all '.join(queries)}) group by day"
    return dict(db.execute(query).fetchall())


def most_frequent_problem(
    db: duckdb.DuckDBPyConnection, table: Table, groups: Sequence[RowGroup], rules: DayRules
) -> tuple[int, str | None]:
    """Number of rows of a daily table, and the most frequent reason why one has no day."""
    queries = (
        f"select __problem as problem from ({dated_rows_sql(db, table, g.rows, g.columns, rules)})"
        f" where not {g.rows.left_out}"
        for g in groups
    )
    [(rows, problem)] = db.execute(
        "select coalesce(sum(n), 0)::BIGINT, first(problem order by n desc, problem) from "
        f"(select problem, count(*) as n from ({' union all '.join(queries)}) group by problem)"
    ).fetchall()
    return rows, problem
