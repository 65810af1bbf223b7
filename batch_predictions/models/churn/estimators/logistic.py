"""Logistic regression on all features, and the baselines on few features that share its class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.churn.base import (
    ChurnEstimator,
    ChurnEstimatorSpec,
    FitInputs,
    read_manifest,
)
from batch_predictions.models.churn.data.churn_features import (
    ALL_COLUMNS,
    INTERPURCHASE_COLUMNS,
    RECENCY_COLUMNS,
    ChurnFeatures,
)


@dataclass(frozen=True)
class LogisticParams:
    """Parameters of a logistic regression.

    Attributes:
        columns: features that it reads; ALL_COLUMNS come with indicators of genders.
        c: inverse strength of the L2 penalty.
    """

    columns: tuple[str, ...]
    c: float = 1.0


@dataclass(frozen=True)
class LogisticEstimator(ChurnEstimator):
    """Logistic regression on standardised features; an unknown value counts as the median.

    Attributes:
        features: the features, of which counts, days and amounts are logged.
        medians, means, scales: of the training rows, (features,).
        weights: coefficients of the standardised features, (features,).
        intercept: log-odds at the means.
    """

    kind: ClassVar[str] = "logistic"
    features: ChurnFeatures
    medians: Doubles
    means: Doubles
    scales: Doubles
    weights: Doubles
    intercept: float

    @classmethod
    def fit(cls, inputs: FitInputs, params: LogisticParams) -> Self:
        """Fits by L-BFGS, which is deterministic; the seed is not used."""
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        rows, churned = inputs.examples.rows, inputs.examples.churned
        features = ChurnFeatures.fit(params.columns, rows)
        matrix = features.log_transform(rows)
        is_known = ~np.isnan(matrix).all(axis=0)
        medians = np.zeros(matrix.shape[1])
        medians[is_known] = np.nanmedian(matrix[:, is_known], axis=0)
        matrix = np.where(np.isnan(matrix), medians, matrix)
        means, scales = matrix.mean(axis=0), matrix.std(axis=0)
        scales = np.where(scales > 0, scales, 1.0)
        with threadpool_limits(1):
            model = LogisticRegression(C=params.c, max_iter=2000, tol=1e-6)
            model.fit((matrix - means) / scales, churned)
        weights = np.asarray(model.coef_[0], np.float64)
        return cls(features, medians, means, scales, weights, float(model.intercept_[0]))

    def decision_function(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """Returns the log-odds of churn, (rows,).

        Columns are added one by one: the sums of a matrix product depend on the number of rows.
        """
        matrix = self.features.log_transform(rows)
        log_odds = np.full(matrix.shape[0], self.intercept)
        for n in range(matrix.shape[1]):
            column = np.where(np.isnan(matrix[:, n]), self.medians[n], matrix[:, n])
            log_odds += (column - self.means[n]) / self.scales[n] * self.weights[n]
        return log_odds

    def save(self, folder: Path, name: str) -> None:
        """Writes `<name>.json` with the features and `<name>.npy` with their numbers."""
        self.write_manifest(
            folder,
            name,
            columns=self.features.columns,
            genders=self.features.genders,
            intercept=self.intercept,
            rows=["median", "mean", "scale", "weight"],
        )
        numbers = np.stack([self.medians, self.means, self.scales, self.weights])
        np.save(folder / f"{name}.npy", numbers, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Reads what `save` wrote."""
        manifest = read_manifest(folder, name)
        numbers = np.load(folder / f"{name}.npy", allow_pickle=False)
        features = ChurnFeatures(tuple(manifest["columns"]), tuple(manifest["genders"]))
        medians, means, scales, weights = numbers
        return cls(features, medians, means, scales, weights, manifest["intercept"])


logistic = ChurnEstimatorSpec(
    "logistic", LogisticEstimator.fit, LogisticParams(ALL_COLUMNS, c=0.1), order=30
)


recency_baseline = ChurnEstimatorSpec(
    "recency", LogisticEstimator.fit, LogisticParams(RECENCY_COLUMNS), is_baseline=True, order=10
)


interpurchase_baseline = ChurnEstimatorSpec(
    "rhythm",
    LogisticEstimator.fit,
    LogisticParams(INTERPURCHASE_COLUMNS),
    is_baseline=True,
    order=20,
)
