"""Splits the copied rows of many days into groups of days that are validated together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from batch_predictions.sources.base import MAX_DATE
from batch_predictions.sources.databases.dialects import ColumnKind, SqlDialect
from batch_predictions.sources.databases.table_copies import READ_DAY, RowCopy
from batch_predictions.sources.databases.time_columns import TypedTimeColumn, timezone_of
from batch_predictions.sources.rows.daily_rows import dated_rows_sql, partition_day_sql
from batch_predictions.sources.rows.file_rows import FileRows
from batch_predictions.sources.validation.timestamps import DayRules, day_sql
from batch_predictions.tables import Table
from batch_predictions.warehouse.path_sql import days_condition, quote_identifier, quote_literal

_KINDS: dict[str, ColumnKind] = {
    "TIMESTAMP WITH TIME ZONE": "instant",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "DATE": "date",
}


def comparable_kind(copy: RowCopy, column: str) -> ColumnKind | None:
    """The kind of a time column whose values DuckDB compares as they are; None for texts."""
    return _KINDS.get(copy.types[column])


def with_read_day(
    db: duckdb.DuckDBPyConnection,
    table: Table,
    copy: RowCopy,
    columns: Mapping[str, str],
    rules: DayRules,
    folder: Path,
) -> RowCopy:
    """A copy with the column `READ_DAY`, so that the times of its texts are read once.

    Args:
        db: a connection.
        table: the daily table.
        copy: the copied rows.
        columns: column of the raw table to SQL over the copied columns.
        rules: how rows get their day.
        folder: folder of the new file.
    """
    dated = dated_rows_sql(db, table, copy.file_rows(is_numbered=False), columns, rules)
    names = ", ".join(quote_identifier(name) for name in copy.types)
    folder.mkdir(parents=True)
    path = folder / "dated.parquet"
    db.execute(
        f"copy (select {names}, {partition_day_sql('__day', rules)} as {READ_DAY} "
        f"from ({dated})) to {quote_literal(path)} (format parquet)"
    )
    return replace(copy, paths=(path,), missing=(), has_day=True)


def rows_of_days(
    copy: RowCopy, column: str | None, rules: DayRules, days: Sequence[str] | None
) -> FileRows:
    """The copied rows of days of a daily table, numbered within each day.

    Args:
        copy: the copied rows.
        column: the time column; None: all rows belong to the default date.
        rules: how rows get their day.
        days: partitions; None: all.
    """
    if column is None:
        return copy.file_rows()
    if copy.has_day:
        return copy.file_rows(days_condition(READ_DAY, days), READ_DAY)
    name, kind = quote_identifier(column), comparable_kind(copy, column)
    assert kind is not None, f"{column} needs {READ_DAY}"
    day = day_sql(name, copy.types[column], rules.timezone, rules.naive_zone)
    partition = partition_day_sql(f"({day})", rules)
    if days is None:
        return copy.file_rows(partition_by=partition)
    time = TypedTimeColumn(
        name, SqlDialect(), timezone_of(kind, rules.timezone, rules.naive_zone), kind
    )
    condition = time.condition([dt.date.fromisoformat(day) for day in days])
    if str(rules.undated_day) in days:
        condition = f"{condition} or {time.outside(rules.first_day, MAX_DATE)}"
    return copy.file_rows(condition, partition)


def day_counts(
    db: duckdb.DuckDBPyConnection,
    table: Table,
    copy: RowCopy,
    columns: Mapping[str, str],
    rules: DayRules,
) -> dict[str, int]:
    """Counts the rows of a daily table by partition."""
    if copy.has_day:
        days = f"select {READ_DAY} as day from {copy.scan()}"
    else:
        dated = dated_rows_sql(db, table, copy.file_rows(is_numbered=False), columns, rules)
        days = f"select {partition_day_sql('__day', rules)} as day from ({dated})"
    rows = db.execute(f"select day::VARCHAR, count(*) from ({days}) group by day").fetchall()
    return {day: int(count) for day, count in rows}
