"""Which columns are compared, and the rows of `evaluation.drift` of a day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.evaluation.drift.statistics import compare_categories, compare_numbers
from batch_predictions.partitions import latest_ended_week, trained_through
from batch_predictions.tables import TABLES, Column, Table
from batch_predictions.warehouse import Warehouse

MAX_ROWS = 20_000
"""Rows of a partition that are compared; of more, a hash of their keys selects them."""
CATEGORIES = frozenset(
    {"age_bracket", "gender", "label", "level", "reason", "segment_level", "sentiment", "source"}
)
"""Columns of text whose mix is compared."""
MAX_CATEGORIES = 50
"""A column with more values is no category."""
_LEFT_OUT = {"rank", "date"}
SCHEMA = pa.schema(
    [
        ("table_name", pa.string()),
        ("column_name", pa.string()),
        ("statistic", pa.string()),
        ("value", pa.float64()),
        ("reference", pa.date32()),
        ("n", pa.int64()),
    ]
)


def drift_tables() -> list[Table]:
    """Daily tables of features and predictions that have a column to compare, plugins' too."""
    return [
        table
        for table in TABLES.values()
        if table.schema in ("features", "predictions")
        and table.partition == "date"
        and table.is_periodic
        and compared_columns(table)
    ]


def compared_columns(table: Table) -> list[Column]:
    """Numbers and categories of a table that are no part of its key."""
    return [
        column
        for column in table.columns
        if column.name not in {*table.key, *_LEFT_OUT}
        and (column.name in CATEGORIES or column.is_number)
    ]


def reference_day(day: dt.date) -> dt.date:
    """The last day of the newest training that had ended before a day."""
    return trained_through(latest_ended_week(day - dt.timedelta(days=1)))


def compute_drift(warehouse: Warehouse, day: dt.date) -> pa.Table:
    """Rows of `evaluation.drift` of a day, without its date.

    Tables that were not made for the day, or for the reference, are left out.
    """
    rows = [row for table in drift_tables() for row in _of_table(warehouse, table, day)]
    return pa.Table.from_pylist(rows, SCHEMA)


def _of_table(warehouse: Warehouse, table: Table, day: dt.date) -> Iterator[dict[str, Any]]:
    reference = reference_day(day)
    partitions = set(warehouse.partitions(table))
    if not {day.isoformat(), reference.isoformat()} <= partitions:
        return
    columns = compared_columns(table)
    before = _read(warehouse, table, columns, reference)
    now = _read(warehouse, table, columns, day)
    for column in columns:
        if column.name in CATEGORIES:
            statistics = _compare_categories(before[column.name], now[column.name])
        else:
            numbers = (
                pc.cast(rows[column.name], pa.float64()).to_numpy(zero_copy_only=False)
                for rows in (before, now)
            )
            statistics = compare_numbers(*numbers)
        for statistic, value in statistics.items():
            yield {
                "table_name": table.qualified,
                "column_name": column.name,
                "statistic": statistic,
                "value": value,
                "reference": reference,
                "n": len(now),
            }


def _compare_categories(before: pa.ChunkedArray, now: pa.ChunkedArray) -> dict[str, float]:
    if max(len(pc.unique(values)) for values in (before, now)) > MAX_CATEGORIES:
        return {}
    first, second = (np.array(values.to_pylist(), dtype=object) for values in (before, now))
    return compare_categories(first, second)


def _read(warehouse: Warehouse, table: Table, columns: list[Column], day: dt.date) -> pa.Table:
    """The columns of a partition; of many rows, those whose keys have the smallest hashes."""
    names = ", ".join(f'"{column.name}"' for column in columns)
    query = f'select {names} from {table.qualified} where "{table.partition}" = $day::DATE'
    count = warehouse.value(f"select count(*) from ({query})", {"day": day})
    if count > MAX_ROWS:
        key = ", ".join(f'"{name}"::VARCHAR' for name in table.key)
        query += f" order by md5(concat_ws('|', {key})) limit {MAX_ROWS}"
    return warehouse.query(query, {"day": day})
