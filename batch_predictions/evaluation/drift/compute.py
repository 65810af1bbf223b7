"""The rows of `evaluation.drift` of a day, from its histograms."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from batch_predictions.evaluation.drift.drift_statistics import compare_categories, compare_numbers
from batch_predictions.tables import DRIFT, HISTOGRAMS
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
