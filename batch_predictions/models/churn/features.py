"""From rows of `features.churn_features` to a matrix of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Doubles = npt.NDArray[np.float64]

AGES = ("under 19", "19-24", "25-34", "35-44", "45-54", "55-64", "65+")
LOGGED = (
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
"""Counts, days and money: a linear model sees their logarithms."""
PLAIN = ("weeks_84d", "longer_gap_share", "spend_trend", "visit_trend", "discount_share")
AGE = "age"
"""The place of the age bracket among all, nan where it is unknown."""
RECENCY = ("days_inactive",)
RHYTHM = (*RECENCY, "visits_28d", "visits_84d", "gap_mean", "gap_median", "gap_sd", "overdue")
"""Recency, visits and the customer's own gaps."""
EVERYTHING = (*LOGGED, *PLAIN, AGE)
GENDERS = 3
"""The most frequent genders get a column each."""


@dataclass(frozen=True)
class ChurnFeatures:
    """Which columns a model reads; genders are those that training has seen."""

    columns: tuple[str, ...]
    genders: tuple[str, ...] = ()

    @classmethod
    def of(cls, columns: tuple[str, ...], rows: pa.Table) -> ChurnFeatures:
        """The columns, with genders where everything is read and more than one is known."""
        if columns != EVERYTHING:
            return cls(columns)
        counts = rows["gender"].combine_chunks().value_counts().to_pylist()
        known = sorted(
            (each for each in counts if each["values"] not in (None, "unknown")),
            key=lambda each: (-each["counts"], each["values"]),
        )
        return cls(columns, tuple(str(each["values"]) for each in known[:GENDERS]))

    @property
    def names(self) -> list[str]:
        """Names of the matrix's columns."""
        return [*self.columns, *(f"gender={each}" for each in self.genders)]

    def matrix(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """The numbers as they are, (rows, columns); nan where one is not known."""
        found = []
        for name in self.columns:
            column = _whole(rows["age_bracket" if name == AGE else name])
            if name == AGE:
                column = pc.index_in(column, pa.array(AGES))
            found.append(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
        for each in self.genders:
            same = pc.fill_null(pc.equal(_whole(rows["gender"]), each), False)
            found.append(same.cast(pa.float64()).to_numpy(zero_copy_only=False))
        if not found:
            return np.zeros((rows.num_rows, 0))
        return np.ascontiguousarray(np.column_stack(found).astype(np.float64))

    def logged(self, matrix: Doubles) -> Doubles:
        """The matrix with logarithms of counts, days and money, for linear models."""
        out = matrix.copy()
        for n, name in enumerate(self.columns):
            if name in LOGGED:
                out[:, n] = np.log1p(np.maximum(0, matrix[:, n]))
        return out


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
