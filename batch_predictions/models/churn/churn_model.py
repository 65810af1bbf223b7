"""The churn model that serves: an estimator with its calibration, stored in open formats.

Estimators are fitted by their declared names; their scores are calibrated to probabilities on a
later cut-off than those of fitting.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.churn.base import (
    ChurnEstimator,
    FitInputs,
    estimator_specs,
    load_estimator,
)
from batch_predictions.models.churn.data.churn_examples import Examples

Method = Literal["platt", "isotonic"]
MIN_PROBABILITY = 0.001
"""Probabilities are between this and 1 minus this: no outcome is certain."""
MIN_SLOPE = 0.01
"""Smallest slope of Platt's method, so that a higher score never has a lower probability."""


@dataclass(frozen=True)
class ProbabilityCalibration:
    """A non-decreasing function from scores to probabilities.

    `platt` (Platt 1999): p = 1 / (1 + exp(-(a * score + b))). `isotonic` (Zadrozny and Elkan 2002):
    the best non-decreasing step function, with lines between the steps.

    Attributes:
        method: platt or isotonic.
        knots: scores, (knots,).
        values: at the knots: log-odds (platt, two knots) or probabilities (isotonic), (knots,).
    """

    method: Method
    knots: Doubles
    values: Doubles

    @classmethod
    def fit(cls, method: Method, scores: Doubles, churned: Doubles) -> ProbabilityCalibration:
        """Fits on scores and outcomes (0 or 1); both outcomes must occur.

        Args:
            method: `isotonic` (isotonic regression) or `platt` (logistic function of the score).
            scores: of customers that the estimator was not fitted on, (rows,).
            churned: their outcomes, 0 or 1, (rows,).
        """
        if method == "isotonic":
            from sklearn.isotonic import IsotonicRegression

            isotonic = IsotonicRegression(y_min=MIN_PROBABILITY, y_max=1 - MIN_PROBABILITY)
            isotonic.fit(scores, churned)
            knots, values = isotonic.X_thresholds_, isotonic.y_thresholds_
            return cls(method, np.asarray(knots, np.float64), np.asarray(values, np.float64))
        slope, intercept = _fit_platt(scores, churned)
        return cls(method, np.array([0.0, 1.0]), np.array([intercept, intercept + slope]))

    def probabilities(self, scores: Doubles) -> Doubles:
        """The probability of each score, never lower for a higher score."""
        if self.method == "isotonic":
            return np.asarray(np.interp(scores, self.knots, self.values), np.float64)
        slope = self.values[1] - self.values[0]
        log_odds = self.values[0] + slope * scores
        return np.clip(1 / (1 + np.exp(-log_odds)), MIN_PROBABILITY, 1 - MIN_PROBABILITY)


def _fit_platt(scores: Doubles, churned: Doubles) -> tuple[float, float]:
    """Slope (at least MIN_SLOPE) and intercept, by Newton's method on Platt's smoothed targets."""
    positives, negatives = churned.sum(), (1 - churned).sum()
    targets = np.where(churned > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    mean, scale = float(scores.mean()), float(scores.std()) or 1.0
    z = (scores - mean) / scale
    a, b = 0.0, float(np.log((positives + 1) / (negatives + 1)))
    for _ in range(50):
        p = 1 / (1 + np.exp(-(a * z + b)))
        w = np.maximum(p * (1 - p), 1e-9)
        gradient = np.array([((p - targets) * z).sum(), (p - targets).sum()])
        hessian = np.array([[(w * z * z).sum() + 1e-6, (w * z).sum()], [(w * z).sum(), w.sum()]])
        step = np.linalg.solve(hessian, gradient)
        a, b = a - step[0], b - step[1]
        if np.abs(step).max() < 1e-10:
            break
    slope = max(a / scale, MIN_SLOPE)
    return slope, b - slope * mean


MANIFEST_FILE = "churn.json"
CALIBRATION_FILE = "calibration.npy"
ESTIMATOR_NAME = "margin"
"""The names of the estimator's files begin with this."""


@dataclass(frozen=True)
class ChurnModel:
    """Predicts the probability that a customer churns.

    Attributes:
        estimator, calibration: None where there was too little data to train.
        unserved_reason: why there is no estimator; None where there is one.
    """

    estimator: ChurnEstimator | None
    calibration: ProbabilityCalibration | None
    unserved_reason: str | None = None

    @classmethod
    def calibrate(cls, estimator: ChurnEstimator, examples: Examples, method: Method) -> Self:
        """Builds a model of an estimator, calibrated on examples that it was not fitted on."""
        scores = estimator.decision_function(examples.rows)
        return cls(estimator, ProbabilityCalibration.fit(method, scores, examples.churned))

    def probabilities(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """The probability of churn of each row of features, (rows,)."""
        assert self.estimator is not None and self.calibration is not None, self.unserved_reason
        return self.calibration.probabilities(self.estimator.decision_function(rows))

    def save(self, folder: Path) -> None:
        """Writes `churn.json`, `calibration.npy` and the estimator's files."""
        manifest = {
            "why_not": self.unserved_reason,
            "calibration": self.calibration.method if self.calibration else None,
        }
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if self.estimator is not None and self.calibration is not None:
            self.estimator.save(folder, ESTIMATOR_NAME)
            knots = np.stack([self.calibration.knots, self.calibration.values])
            np.save(folder / CALIBRATION_FILE, knots, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        manifest = json.loads((folder / MANIFEST_FILE).read_text("utf-8"))
        if manifest["calibration"] is None:
            return cls(None, None, manifest["why_not"])
        knots, values = np.load(folder / CALIBRATION_FILE, allow_pickle=False)
        calibration = ProbabilityCalibration(manifest["calibration"], knots, values)
        return cls(load_estimator(folder, ESTIMATOR_NAME), calibration)


class EstimatorTrainer:
    """Fits estimators on the same examples, each at most once.

    Args:
        examples: customers of past days with their outcomes.
        seed: seed of everything random.
    """

    def __init__(self, examples: Examples, seed: int) -> None:
        self._inputs = FitInputs(examples, seed, fit_member=self.fit)
        self._fitted: dict[str, ChurnEstimator] = {}

    def fit(self, name: str) -> ChurnEstimator:
        """Fits the estimator of a name, or returns it if it was fitted before.

        Raises:
            ValueError: no estimator has this name; the message lists the known ones.
        """
        if name not in self._fitted:
            specs = estimator_specs()
            if name not in specs:
                raise ValueError(
                    f"there is no churn estimator {name!r}: choose from {', '.join(specs)}"
                )
            self._fitted[name] = specs[name].fit(self._inputs, specs[name].params)
        return self._fitted[name]
