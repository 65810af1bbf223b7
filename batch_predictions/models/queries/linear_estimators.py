"""Simple estimators of predictive queries: linear models of a few columns, and one column alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from batch_predictions.core.arrays import Doubles

MIN_OFFSET_SHARE = 0.01
"""Share of the mean that offsets are not below."""
MIN_RATE = 1e-6
"""Rates of outcomes are between this and 1 minus this."""


@dataclass(frozen=True, eq=False)
class ExampleMatrix:
    """Features and targets.

    Attributes:
        features: (n, features); nan where unknown.
        target: (n,).
    """

    features: Doubles
    target: Doubles

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True)
class LinearEstimator:
    """A ridge regression, or a logistic regression of log(1 + x), of a few columns.

    Attributes:
        columns: places of the columns in the matrix.
        centers, scales: of the columns, after the transformation.
        coefficients: of the standardised columns, then of each interval but the first.
        intercept: the mean, or the log-odds, at the centers.
        is_logistic: whether it predicts log-odds.
        intervals: number of intervals of the last column of the matrix; 0 where there is none.
        bounds: smallest and largest value of each column while fitting, which others are clipped
            to.
    """

    kind: ClassVar[str] = "linear"
    columns: tuple[int, ...]
    centers: tuple[float, ...]
    scales: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    is_logistic: bool
    intervals: int = 0
    bounds: tuple[tuple[float, float], ...] = ()

    @classmethod
    def fit(
        cls,
        examples: ExampleMatrix,
        columns: Sequence[int],
        *,
        is_logistic: bool,
        intervals: int = 0,
    ) -> LinearEstimator:
        """Fits the coefficients; unknown values count as the mean of a column."""
        values = _transform(examples.features[:, list(columns)], is_logistic)
        known = np.isfinite(values)
        counts = np.maximum(known.sum(axis=0), 1)
        centers = np.where(known, values, 0).sum(axis=0) / counts
        deviations = np.where(known, values - centers, 0.0)
        scales = np.sqrt((deviations**2).sum(axis=0) / counts)
        scales[scales == 0] = 1.0
        bounds = [(float(c.min()), float(c.max())) for c in (deviations / scales).T]
        design = np.column_stack(
            [deviations / scales, _interval_columns(examples.features, intervals)]
        )
        if is_logistic:
            coefficients, intercept = _fit_logistic(design, examples.target)
        else:
            intercept = float(examples.target.mean())
            gram = design.T @ design + 1e-3 * len(design) * np.eye(design.shape[1])
            coefficients = np.linalg.solve(gram, design.T @ (examples.target - intercept))
        return cls(
            columns=tuple(columns),
            centers=tuple(map(float, centers)),
            scales=tuple(map(float, scales)),
            coefficients=tuple(map(float, coefficients)),
            intercept=float(intercept),
            is_logistic=is_logistic,
            intervals=intervals,
            bounds=tuple(bounds),
        )

    def predict(self, features: Doubles) -> Doubles:
        """Means or log-odds, (n,)."""
        values = _transform(features[:, list(self.columns)], self.is_logistic)
        deviations = (values - np.array(self.centers)) / np.array(self.scales)
        low, high = np.array(self.bounds).reshape(-1, 2).T
        design = np.clip(np.where(np.isfinite(deviations), deviations, 0.0), low, high)
        design = np.column_stack([design, _interval_columns(features, self.intervals)])
        total = np.full(len(design), self.intercept)
        for column, coefficient in zip(design.T, self.coefficients, strict=True):
            total += column * coefficient  # Column by column: equal to the bit in any batch.
        return total

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LinearEstimator:
        """Reads what `to_json` returned."""
        read: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**read)


@dataclass(frozen=True)
class ColumnEstimator:
    """One column as the prediction: what happened before happens again.

    Attributes:
        column: place of the column in the matrix.
        missing: prediction where the column is unknown.
    """

    kind: ClassVar[str] = "column"
    column: int
    missing: float

    def predict(self, features: Doubles) -> Doubles:
        """The column, (n,)."""
        values = features[:, self.column]
        return np.where(np.isfinite(values), values, self.missing)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ColumnEstimator:
        """Reads what `to_json` returned."""
        return cls(**values)


def log_means(offset: LinearEstimator, features: Doubles) -> Doubles:
    """Logarithms of the offset's means, none of them smaller than a hundredth of its center's."""
    floor = max(MIN_OFFSET_SHARE * offset.intercept, 1e-12)
    return np.log(np.maximum(offset.predict(features), floor))


def _transform(values: Doubles, is_logistic: bool) -> Doubles:
    return np.sign(values) * np.log1p(np.abs(values)) if is_logistic else values


def _interval_columns(features: Doubles, intervals: int) -> Doubles:
    """Indicators of each interval but the first, (n, intervals - 1)."""
    if not intervals:
        return np.zeros((len(features), 0))
    return (features[:, -1:] == np.arange(1, intervals)).astype(np.float64)


def _fit_logistic(design: Doubles, outcomes: Doubles) -> tuple[Doubles, float]:
    """Coefficients with a ridge of 1, and the intercept; the log-odds of the rate without columns.

    Outcomes that are all alike have no coefficients either.
    """
    from sklearn.linear_model import LogisticRegression

    rate = float(np.clip(outcomes.mean(), MIN_RATE, 1 - MIN_RATE))
    if not design.shape[1] or outcomes.min() == outcomes.max():
        return np.zeros(design.shape[1]), float(np.log(rate / (1 - rate)))
    model = LogisticRegression(C=1.0, solver="newton-cholesky", max_iter=100)
    model.fit(design, outcomes > 0)
    return np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])
