"""Calibration of scores to probabilities, by Platt's method or by isotonic regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from batch_predictions.core.arrays import Doubles

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
        floor: probabilities are between this and 1 minus this.
    """

    method: Method
    knots: Doubles
    values: Doubles
    floor: float = MIN_PROBABILITY

    @classmethod
    def fit(
        cls,
        method: Method,
        scores: Doubles,
        outcomes: Doubles,
        floor: float = MIN_PROBABILITY,
    ) -> ProbabilityCalibration:
        """Fits on scores and outcomes (0 or 1); both outcomes must occur.

        Args:
            method: `isotonic` (isotonic regression) or `platt` (logistic function of the score).
            scores: of rows that the estimator was not fitted on, (rows,).
            outcomes: their outcomes, 0 or 1, (rows,).
            floor: smallest probability.
        """
        if method == "isotonic":
            from sklearn.isotonic import IsotonicRegression

            isotonic = IsotonicRegression(y_min=floor, y_max=1 - floor)
            isotonic.fit(scores, outcomes)
            knots, values = isotonic.X_thresholds_, isotonic.y_thresholds_
            return cls(method, np.asarray(knots, np.float64), np.asarray(values, np.float64), floor)
        slope, intercept = _fit_platt(scores, outcomes)
        return cls(method, np.array([0.0, 1.0]), np.array([intercept, intercept + slope]), floor)

    def probabilities(self, scores: Doubles) -> Doubles:
        """The probability of each score, never lower for a higher score."""
        if self.method == "isotonic":
            return np.asarray(np.interp(scores, self.knots, self.values), np.float64)
        slope = self.values[1] - self.values[0]
        log_odds = np.clip(self.values[0] + slope * scores, -700, 700)
        return np.clip(1 / (1 + np.exp(-log_odds)), self.floor, 1 - self.floor)


def _fit_platt(scores: Doubles, outcomes: Doubles) -> tuple[float, float]:
    """Slope (at least MIN_SLOPE) and intercept, by Newton's method on Platt's smoothed targets."""
    positives, negatives = outcomes.sum(), (1 - outcomes).sum()
    targets = np.where(outcomes > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    mean, scale = float(scores.mean()), float(scores.std()) or 1.0
    z = (scores - mean) / scale
    a, b = 0.0, float(np.log((positives + 1) / (negatives + 1)))
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(a * z + b, -700, 700)))
        w = np.maximum(p * (1 - p), 1e-9)
        gradient = np.array([((p - targets) * z).sum(), (p - targets).sum()])
        hessian = np.array([[(w * z * z).sum() + 1e-6, (w * z).sum()], [(w * z).sum(), w.sum()]])
        step = np.linalg.solve(hessian, gradient)
        a, b = a - step[0], b - step[1]
        if np.abs(step).max() < 1e-10:
            break
    slope = max(a / scale, MIN_SLOPE)
    return slope, b - slope * mean
