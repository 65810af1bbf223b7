"""From margins to probabilities, fitted on a window later than what the model learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from batch_predictions.models.churn.features import Doubles

Method = Literal["platt", "isotonic"]
LEAST = 0.001
"""No customer is certain to stay, or to go."""


@dataclass(frozen=True)
class ProbabilityCalibration:
    """Knots between which log-odds (platt: a straight line) or probabilities are interpolated.

    Platt (1999): p = 1 / (1 + exp(-(a * margin + b))). Isotonic (Zadrozny and Elkan 2002): the
    best non-decreasing steps, joined by lines.
    """

    method: Method
    knots: Doubles
    values: Doubles

    @classmethod
    def fit(cls, method: Method, margins: Doubles, churned: Doubles) -> ProbabilityCalibration:
        """Fits on margins and outcomes (0 or 1) of both kinds."""
        if method == "isotonic":
            from sklearn.isotonic import IsotonicRegression

            fitted = IsotonicRegression(y_min=LEAST, y_max=1 - LEAST).fit(margins, churned)
            knots, values = fitted.X_thresholds_, fitted.y_thresholds_
            return cls(method, np.asarray(knots, np.float64), np.asarray(values, np.float64))
        slope, offset = _platt(margins, churned)
        return cls(method, np.array([0.0, 1.0]), np.array([offset, offset + slope]))

    def probabilities(self, margins: Doubles) -> Doubles:
        """A probability for each margin, never lower for a higher one."""
        if self.method == "isotonic":
            return np.asarray(np.interp(margins, self.knots, self.values), np.float64)
        slope = self.values[1] - self.values[0]
        odds = self.values[0] + slope * margins
        return np.clip(1 / (1 + np.exp(-odds)), LEAST, 1 - LEAST)


def _platt(margins: Doubles, churned: Doubles) -> tuple[float, float]:
    """Slope (at least a hundredth) and offset by Newton's steps on Platt's smoothed targets."""
    positive, negative = churned.sum(), (1 - churned).sum()
    targets = np.where(churned > 0, (positive + 1) / (positive + 2), 1 / (negative + 2))
    centre, spread = float(margins.mean()), float(margins.std()) or 1.0
    z = (margins - centre) / spread
    a, b = 0.0, float(np.log((positive + 1) / (negative + 1)))
    for _ in range(50):
        p = 1 / (1 + np.exp(-(a * z + b)))
        w = np.maximum(p * (1 - p), 1e-9)
        gradient = np.array([((p - targets) * z).sum(), (p - targets).sum()])
        hessian = np.array([[(w * z * z).sum() + 1e-6, (w * z).sum()], [(w * z).sum(), w.sum()]])
        step = np.linalg.solve(hessian, gradient)
        a, b = a - step[0], b - step[1]
        if np.abs(step).max() < 1e-10:
            break
    slope = max(a / spread, 0.01)
    return slope, b - slope * centre
