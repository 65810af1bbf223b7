"""Calibration of scores to probabilities by Platt's method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from batch_predictions.core.arrays import Doubles

MIN_PROBABILITY = 1e-6
"""Probabilities are between this and 1 minus this: no outcome is certain."""
MIN_SLOPE = 0.01
"""Smallest slope, so that a higher score never has a lower probability."""
MAX_LOG_ODDS = 700.0
"""Log-odds whose exponential is still finite."""


@dataclass(frozen=True)
class PlattCalibration:
    """A logistic function from scores to probabilities (Platt 1999).

    p = 1 / (1 + exp(-(slope * score + intercept))).

    Attributes:
        slope: above 0.
        intercept: log-odds at the score 0.
    """

    slope: float
    intercept: float

    @classmethod
    def fit(cls, scores: Doubles, outcomes: Doubles) -> PlattCalibration:
        """Fits on scores and outcomes (0 or 1), by Newton's method on Platt's smoothed targets.

        Args:
            scores: of rows that the estimator was not fitted on, (rows,).
            outcomes: their outcomes, 0 or 1, (rows,).
        """
        positives, negatives = outcomes.sum(), (1 - outcomes).sum()
        targets = np.where(outcomes > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
        mean, scale = float(scores.mean()), float(scores.std()) or 1.0
        z = (scores - mean) / scale
        a, b = 0.0, float(np.log((positives + 1) / (negatives + 1)))
        for _ in range(50):
            p = _sigmoid(a * z + b)
            w = np.maximum(p * (1 - p), 1e-9)
            gradient = np.array([((p - targets) * z).sum(), (p - targets).sum()])
            cross = (w * z).sum()
            hessian = np.array([[(w * z * z).sum() + 1e-6, cross], [cross, w.sum()]])
            step = np.linalg.solve(hessian, gradient)
            a, b = a - step[0], b - step[1]
            if np.abs(step).max() < 1e-10:
                break
        slope = max(float(a) / scale, MIN_SLOPE)
        return cls(slope, float(b) - slope * mean)

    def probabilities(self, scores: Doubles) -> Doubles:
        """The probability of each score, never lower for a higher score, (rows,)."""
        p = _sigmoid(self.intercept + self.slope * scores)
        return np.clip(p, MIN_PROBABILITY, 1 - MIN_PROBABILITY)


def _sigmoid(log_odds: Doubles) -> Doubles:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -MAX_LOG_ODDS, MAX_LOG_ODDS))))
