"""How good probabilities of churn are: ranking, calibration, lift, with bootstrap intervals.

Every measure takes weights, one a row and sample: a bootstrap sample is how often each customer was
drawn, so that all candidates are measured on the same samples and differences are paired. Customers
who stand in several windows are drawn whole. Ties count half, or in proportion.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from batch_predictions.models.churn.features import Doubles
from batch_predictions.models.common.bootstrap import Interval, percentile_interval, resample_counts

AUC, PRECISION, BRIER = "auc", "average_precision", "brier"
ECE, LIFT = "calibration_error", "lift@10%"
METRICS = (AUC, PRECISION, BRIER, ECE, LIFT)
BINS = 10


class EvaluatedModel:
    """Outcomes and probabilities of one candidate, ready to be measured under any weights."""

    def __init__(self, churned: Doubles, probabilities: Doubles) -> None:
        self.order = np.argsort(-probabilities, kind="stable")
        self.churned = churned[self.order]
        self.probabilities = probabilities[self.order]
        changes = np.flatnonzero(np.diff(self.probabilities)) + 1
        self.starts = np.concatenate([[0], changes]).astype(np.int64)
        # Tenths of the customers by probability; equal ones stay together.
        first = self.starts[np.searchsorted(self.starts, np.arange(len(churned)), "right") - 1]
        self.bins = first * BINS // max(1, len(churned))

    def measure(self, weights: Doubles) -> dict[str, Doubles]:
        """Every metric of each row of weights (samples, customers in their given order)."""
        drawn = weights[:, self.order]
        total = drawn.sum(axis=1)
        gone = np.add.reduceat(drawn * self.churned, self.starts, axis=1)
        stayed = np.add.reduceat(drawn * (1 - self.churned), self.starts, axis=1)
        all_gone, all_stayed = gone.sum(axis=1), stayed.sum(axis=1)
        above_gone, above_stayed = gone.cumsum(axis=1), stayed.cumsum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            below = all_stayed[:, None] - above_stayed + stayed / 2
            auc = (gone * below).sum(axis=1) / (all_gone * all_stayed)
            precision = above_gone / (above_gone + above_stayed)
            average = (np.nan_to_num(precision) * gone).sum(axis=1) / all_gone
            lift = self._caught(above_gone, above_gone + above_stayed, 0.1) / all_gone / 0.1
            misses = drawn * (self.probabilities - self.churned)
            brier = (drawn * (self.probabilities - self.churned) ** 2).sum(axis=1) / total
            edges = np.concatenate([[0], np.flatnonzero(np.diff(self.bins)) + 1])
            error = np.abs(np.add.reduceat(misses, edges, axis=1)).sum(axis=1) / total
        return {AUC: auc, PRECISION: average, BRIER: brier, ECE: error, LIFT: lift}

    @staticmethod
    def _caught(gone: Doubles, reached: Doubles, share: float) -> Doubles:
        """Churned customers among the first `share`; a group of ties gives its proportion."""
        caught = np.empty(len(gone))
        for n in range(len(gone)):
            x = np.concatenate([[0.0], reached[n]])
            y = np.concatenate([[0.0], gone[n]])
            caught[n] = np.interp(share * reached[n, -1], x, y)
        return caught


def draws(users: npt.NDArray[np.int64], seed: int) -> list[Doubles]:
    """Bootstrap weights of rows in chunks of samples: how often each row's user was drawn."""
    number = int(users.max()) + 1 if len(users) else 0
    return [counts[:, users] for counts in resample_counts(number, seed)]


class PairedComparison:
    """Candidates judged on the same customers and the same bootstrap samples."""

    def __init__(self, churned: Doubles, users: npt.NDArray[np.int64], seed: int) -> None:
        self.churned, self.n = churned, len(churned)
        self._draws = draws(users, seed)
        self.values: dict[str, dict[str, float]] = {}
        self.samples: dict[str, dict[str, Doubles]] = {}

    def evaluate(self, name: str, probabilities: Doubles) -> dict[str, Interval]:
        """Measures a candidate, and keeps it for differences."""
        judged = EvaluatedModel(self.churned, probabilities)
        whole = judged.measure(np.ones((1, self.n)))
        parts = [judged.measure(weights) for weights in self._draws]
        self.values[name] = {metric: float(whole[metric][0]) for metric in METRICS}
        self.samples[name] = {
            metric: np.concatenate([part[metric] for part in parts]) for metric in METRICS
        }
        return {
            metric: self._interval(self.values[name][metric], self.samples[name][metric])
            for metric in METRICS
        }

    def gain(self, name: str, other: str, metric: str = AUC) -> Interval:
        """The paired difference of two candidates."""
        value = self.values[name][metric] - self.values[other][metric]
        return self._interval(value, self.samples[name][metric] - self.samples[other][metric])

    def _interval(self, value: float, samples: Doubles) -> Interval:
        return percentile_interval(value, samples, self.n)


def measured(
    statistic: Callable[[Doubles], Doubles], n: int, users: npt.NDArray[np.int64], seed: int
) -> Interval:
    """Any weighted statistic with its interval; for measures that are not in `METRICS`."""
    value = float(statistic(np.ones((1, n)))[0])
    parts = [statistic(weights) for weights in draws(users, seed)]
    return percentile_interval(value, np.concatenate(parts), n)
