"""The rows of `evaluation.drift` of a day, from its histograms.

It selects the tables and columns whose drift is measured, and the day that a table is compared
with: the last one of its model's newest training.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from batch_predictions.evaluation.drift.drift_statistics import compare_categories, compare_numbers
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import trainings
from batch_predictions.tables import DRIFT, HISTOGRAMS, TABLES, Column, Table
from batch_predictions.tables.discovery import instances
from batch_predictions.tables.partitions import latest_ended_week, trained_through
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.arrow_rows import arrow_rows

Histogram: TypeAlias = Sequence[Mapping[str, Any]]
"""The rows of `evaluation.histograms` of a column, in order of their bins."""


def compute_drift(warehouse: Warehouse, day: dt.date) -> pa.Table:
    """Computes the rows of `evaluation.drift` of a day, without its date."""
    drift = [
        {
            "table_name": table,
            "column_name": column,
            "statistic": statistic,
            "value": value,
            "reference": histogram[0]["reference"],
            "n": sum(row["rows"] for row in histogram),
        }
        for (table, column), histogram in read_histograms(warehouse, day).items()
        for statistic, value in compare_histogram(histogram).items()
    ]
    return arrow_rows(DRIFT, drift)


def read_histograms(warehouse: Warehouse, day: dt.date) -> dict[tuple[str, str], Histogram]:
    """The histograms of a day, by table and column."""
    rows = warehouse.query(
        f"select * from {HISTOGRAMS.qualified} where date = $day::DATE "
        "order by table_name, column_name, bin",
        {"day": day},
    ).to_pylist()
    of_columns = groupby(rows, itemgetter("table_name", "column_name"))
    return {name: list(histogram) for name, histogram in of_columns}


def compare_histogram(histogram: Histogram) -> dict[str, float]:
    """Computes the statistics of a column: none where one of the days has no rows."""
    reference, rows = (
        np.array([row[name] for row in histogram], np.int64) for name in ("reference_rows", "rows")
    )
    if has_categories(histogram):
        return compare_categories(reference, rows)
    # The first bin has the rows without a value.
    ends = np.array([histogram[1]["lower"], *(row["upper"] for row in histogram[1:])], np.float64)
    return compare_numbers(reference, rows, ends)


def has_categories(histogram: Histogram) -> bool:
    """Returns whether a histogram's column is text."""
    return any(row["category"] is not None for row in histogram)


CATEGORIES = frozenset(
    {"age_bracket", "gender", "label", "level", "reason", "segment_level", "sentiment", "source"}
)
"""Columns of text whose mix is compared."""
_LEFT_OUT = {"rank", "date"}


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
        if column.name not in {*table.key, *_LEFT_OUT} and (is_category(column) or column.is_number)
    ]


def is_category(column: Column) -> bool:
    """Returns whether a column has categories: text of few values."""
    return column.name in CATEGORIES and not column.is_number


def model_by_table() -> dict[str, str]:
    """The model that makes each table of predictions, by the table's qualified name.

    Tables that a rule makes are left out.
    """
    return {
        table.qualified: prediction.model
        for prediction in instances(BatchPrediction, "predictions/*.py")
        if prediction.model
        for table in (prediction.table, *prediction.child_tables.values())
    }


def reference_days(models: ModelStore, day: dt.date) -> dict[str, dt.date]:
    """Returns, by table, the last day of the newest training that had ended before a day.

    Of predictions that of their model; of features, and of what a rule makes, that of any model. Of
    a home without one, the last day of the newest week that had ended.
    """
    newest = {
        name: trained
        for name in trainings()
        if (trained := models.newest_training(name, day)) is not None
    }
    week = trained_through(latest_ended_week(day - dt.timedelta(days=1)))
    of_any = max(newest.values(), default=week)
    made_by = model_by_table()
    names = [table.qualified for table in drift_tables()]
    return {name: newest.get(made_by.get(name, ""), of_any) for name in names}
