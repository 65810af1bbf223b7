"""Turns rows of `features.churn_features` into a matrix of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Doubles

AGE_BRACKETS = ("under 19", "19-24", "25-34", "35-44", "45-54", "55-64", "65+")
LOG_COLUMNS = (
    "days_inactive",
    "tenure_days",
    "visits",
    "visits_7d",
    "visits_28d",
    "visits_56d",
    "visits_84d",
    "gap_median",
    "gap_mean",
    "gap_sd",
    "gap_max",
    "gap_recent",
    "overdue",
    "spend_28d",
    "spend_56d",
    "spend_84d",
    "events_28d",
    "events_84d",
    "items_84d",
    "categories_84d",
    "redemptions",
)
"""Counts, days and amounts; linear models use log(1 + x) of them."""
UNTRANSFORMED_COLUMNS = (
    "weeks_84d",
    "longer_gap_share",
    "spend_trend",
    "visit_trend",
    "discount_share",
)
AGE = "age"
"""Index of the age bracket in AGE_BRACKETS; nan where it is unknown."""
RECENCY_COLUMNS = ("days_inactive",)
INTERPURCHASE_COLUMNS = (
    *RECENCY_COLUMNS,
    "visits_28d",
    "visits_84d",
    "gap_mean",
    "gap_median",
    "gap_sd",
    "overdue",
)
"""Recency, number of visits, and the intervals between a customer's own visits."""
ALL_COLUMNS = (*LOG_COLUMNS, *UNTRANSFORMED_COLUMNS, AGE)
MAX_GENDERS = 3
"""Genders with an indicator column of their own, the most frequent ones."""


@dataclass(frozen=True)
class ChurnFeatures:
    """The features that an estimator reads.

    Attributes:
        columns: columns of `features.churn_features`, or AGE.
        genders: genders with an indicator column `gender=<name>` after `columns`.
    """

    columns: tuple[str, ...]
    genders: tuple[str, ...] = ()

    @classmethod
    def fit(cls, columns: tuple[str, ...], rows: pa.Table) -> ChurnFeatures:
        """Features of training rows; all columns come with the rows' most frequent genders."""
        if columns != ALL_COLUMNS:
            return cls(columns)
        counts = rows["gender"].combine_chunks().value_counts().to_pylist()
        genders = [count for count in counts if count["values"] not in (None, "unknown")]
        genders.sort(key=lambda gender: (-gender["counts"], gender["values"]))
        return cls(columns, tuple(str(gender["values"]) for gender in genders[:MAX_GENDERS]))

    @property
    def names(self) -> list[str]:
        """Names of the matrix's columns."""
        return [*self.columns, *(f"gender={gender}" for gender in self.genders)]

    def transform(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """The features as numbers, (rows, features); nan where a value is unknown."""
        columns = []
        for name in self.columns:
            column = _as_array(rows["age_bracket" if name == AGE else name])
            if name == AGE:
                column = pc.index_in(column, pa.array(AGE_BRACKETS))
            columns.append(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
        for gender in self.genders:
            is_gender = pc.fill_null(pc.equal(_as_array(rows["gender"]), gender), False)
            columns.append(is_gender.cast(pa.float64()).to_numpy(zero_copy_only=False))
        if not columns:
            return np.zeros((rows.num_rows, 0))
        return np.ascontiguousarray(np.column_stack(columns).astype(np.float64))

    def log_transform(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """Returns the features for linear models: x of LOG_COLUMNS becomes log(1 + max(0, x))."""
        matrix = self.transform(rows)
        for number, name in enumerate(self.columns):
            if name in LOG_COLUMNS:
                matrix[:, number] = np.log1p(np.maximum(0, matrix[:, number]))
        return matrix


def _as_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
