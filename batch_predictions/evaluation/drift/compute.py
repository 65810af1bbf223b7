"""The rows of `evaluation.drift` of a day, from its histograms, and their statistics.

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
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import trainings
from batch_predictions.tables import DRIFT, HISTOGRAMS, TABLES, Column, Table
from batch_predictions.tables.discovery import instances
from batch_predictions.tables.partitions import latest_ended_week, trained_through
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.arrow_rows import arrow_rows

Rows: TypeAlias = npt.NDArray[np.int64]

PSI, KS, WASSERSTEIN = "psi", "ks", "wasserstein"
GROUPS = 10
"""Of the population stability index of numbers: deciles of the reference, as is usual."""
_PRIOR = 0.5
"""Added to every count, so that a bin without rows has a finite share."""


def compare_numbers(reference: Rows, rows: Rows, ends: Doubles) -> dict[str, float]:
    """Computes how much two histograms of a column of numbers differ.

    Args:
        reference: rows of the training's last day without a value, and in each bin, (1 + bins,).
        rows: the same of the day, (1 + bins,).
        ends: the smallest number, and the end of each bin, ascending, (1 + bins,); nan where no
            row has a value.

    Returns:
        `psi` over deciles of the reference, with a bin for rows without a value: below .1 little
        has changed, above .25 much has (Siddiqi 2006, "Credit Risk Scorecards"). `ks`, the largest
        difference of the distribution functions, 0 to 1, at the ends of bins, and `wasserstein`,
        the mean distance that values moved, in their unit, with values spread evenly within bins;
        both of the rows with a value, and left out where one of the days has none. Days without
        rows have no statistics.
    """
    if not reference.sum() or not rows.sum():
        return {}
    groups = _deciles(reference[1:])
    grouped = (
        np.append(np.bincount(groups, weights=counts[1:], minlength=GROUPS), counts[0])
        for counts in (reference, rows)
    )
    result = {PSI: population_stability(*grouped)}
    if reference[1:].sum() and rows[1:].sum():
        before, now = (np.cumsum(counts[1:]) / counts[1:].sum() for counts in (reference, rows))
        result[KS] = float(np.abs(before - now).max())
        result[WASSERSTEIN] = _area_between(before, now, ends)
    return result


def compare_categories(reference: Rows, rows: Rows) -> dict[str, float]:
    """The `psi` of a column of text, (bins,) each; empty where one of the days has no rows."""
    if not reference.sum() or not rows.sum():
        return {}
    return {PSI: population_stability(reference, rows)}


def population_stability(reference: npt.NDArray[Any], counts: npt.NDArray[Any]) -> float:
    """The population stability index of two rows of counts over the same bins, at least 0.

    Bins that are empty in both count for nothing.
    """
    used = (reference + counts) > 0
    shares = []
    for numbers in (reference[used], counts[used]):
        smoothed = numbers + _PRIOR
        shares.append(smoothed / smoothed.sum())
    expected, actual = shares
    return max(0.0, float(((actual - expected) * np.log(actual / expected)).sum()))


def _deciles(reference: Rows) -> npt.NDArray[np.int64]:
    """The group of each bin, 0 to 9: that of its middle row.

    Bins at both ends that the reference leaves empty are of the group next to them.
    """
    filled = np.flatnonzero(reference)
    if not len(filled):
        return np.zeros(len(reference), np.int64)
    middle = np.cumsum(reference) - reference / 2
    groups = np.minimum((middle / reference.sum() * GROUPS).astype(np.int64), GROUPS - 1)
    groups[: filled[0]], groups[filled[-1] + 1 :] = groups[filled[0]], groups[filled[-1]]
    return groups


def _area_between(before: Doubles, now: Doubles, ends: Doubles) -> float:
    """The area between two distribution functions that are straight within bins.

    Args:
        before: shares up to the end of each bin, (bins,).
        now: likewise.
        ends: as in `compare_numbers`.
    """
    difference = np.append(0.0, before - now)
    left, right = difference[:-1], difference[1:]
    mean = np.abs(left + right) / 2
    # Two triangles, where one function is above the other first and below it then.
    crossed = left * right < 0
    left, right = left[crossed], right[crossed]
    mean[crossed] = (left**2 + right**2) / (2 * np.abs(left - right))
    return float(np.nansum(mean * np.diff(ends)))


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
