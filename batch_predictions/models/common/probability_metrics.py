"""Metrics of probabilities with bootstrap intervals: ranking, calibration and lift.

Every metric takes a weight per row: in a bootstrap sample the weight is how often the row's
unit was drawn. All candidates are evaluated on the same samples, so that their differences are
paired. A unit with rows of several days is drawn with all of them. Units with equal
probabilities count half against each other (AUC) or in proportion (lift).

A reliability diagram and a gain curve show them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.intervals import Interval, percentile_interval, resample_counts
from batch_predictions.warehouse.plot_style import BASELINE, label_axes, new_panes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AUC, AVERAGE_PRECISION, BRIER = "auc", "average_precision", "brier"
LOG_LOSS = "log_loss"
ECE, LIFT = "calibration_error", "lift@10%"
METRICS = (AUC, AVERAGE_PRECISION, BRIER, LOG_LOSS, ECE, LIFT)
CALIBRATION_BINS = 10
"""Groups of rows by probability, of equal size except for ties, of the calibration error."""
LOG_LOSS_FLOOR = 1e-15
"""Smaller probabilities of an outcome count as this in the log loss, which would be infinite."""
LIFT_SHARE = 0.1
"""Share of the rows, those with the highest probabilities, that the lift is computed of."""


class EvaluatedModel:
    """Outcomes and probabilities of one candidate, sorted for metrics under any weights.

    Args:
        outcomes: 0 or 1, (rows,).
        probabilities: predicted probabilities of 1, (rows,).

    Attributes:
        order: the rows by falling probability, (rows,).
        outcomes, probabilities: in that order, (rows,).
        tie_starts: where each group of equal probabilities starts, (groups,).
        bins: calibration bin of each row in that order, (rows,); ties are in one bin.
    """

    def __init__(self, outcomes: Doubles, probabilities: Doubles) -> None:
        self.order = np.argsort(-probabilities, kind="stable")
        self.outcomes = outcomes[self.order]
        self.probabilities = probabilities[self.order]
        changes = np.flatnonzero(np.diff(self.probabilities)) + 1
        self.tie_starts = np.concatenate([[0], changes]).astype(np.int64)
        rows = np.arange(len(outcomes))
        tie_start = self.tie_starts[np.searchsorted(self.tie_starts, rows, "right") - 1]
        self.bins = tie_start * CALIBRATION_BINS // max(1, len(outcomes))

    def compute_metrics(self, weights: Doubles) -> dict[str, Doubles]:
        """Every metric of each sample, by name, (samples,).

        Args:
            weights: of the rows as they were passed to the constructor, (samples, rows).
        """
        sorted_weights = weights[:, self.order]
        total = sorted_weights.sum(axis=1)
        # Per group of ties, then summed from the highest probability down.
        positives = np.add.reduceat(sorted_weights * self.outcomes, self.tie_starts, axis=1)
        negatives = np.add.reduceat(sorted_weights * (1 - self.outcomes), self.tie_starts, axis=1)
        n_positive, n_negative = positives.sum(axis=1), negatives.sum(axis=1)
        positives_above, negatives_above = positives.cumsum(axis=1), negatives.cumsum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            negatives_below = n_negative[:, None] - negatives_above + negatives / 2
            auc = (positives * negatives_below).sum(axis=1) / (n_positive * n_negative)
            precision = positives_above / (positives_above + negatives_above)
            average_precision = (np.nan_to_num(precision) * positives).sum(axis=1) / n_positive
            captured = _positives_in_top(
                positives_above, positives_above + negatives_above, LIFT_SHARE
            )
            lift = captured / n_positive / LIFT_SHARE
            errors = sorted_weights * (self.probabilities - self.outcomes)
            squares = sorted_weights * (self.probabilities - self.outcomes) ** 2
            brier = squares.sum(axis=1) / total
            of_outcome = np.where(self.outcomes > 0, self.probabilities, 1 - self.probabilities)
            losses = -np.log(np.maximum(of_outcome, LOG_LOSS_FLOOR))
            log_loss = sorted_weights @ losses / total
            bin_starts = np.concatenate([[0], np.flatnonzero(np.diff(self.bins)) + 1])
            ece = np.abs(np.add.reduceat(errors, bin_starts, axis=1)).sum(axis=1) / total
        return {
            AUC: auc,
            AVERAGE_PRECISION: average_precision,
            BRIER: brier,
            LOG_LOSS: log_loss,
            ECE: ece,
            LIFT: lift,
        }


class PairedComparison:
    """Evaluates candidates on the same rows and the same bootstrap samples of units.

    Args:
        outcomes: 0 or 1, (rows,).
        units: number of each row's unit, such as a customer, 0 to units - 1, (rows,).
        seed: of the bootstrap samples.

    Attributes:
        n: number of rows.
        values: metrics by candidate and name.
        samples: metrics of the bootstrap samples by candidate and name, (samples,).
    """

    def __init__(self, outcomes: Doubles, units: npt.NDArray[np.int64], seed: int) -> None:
        self.outcomes, self.n = outcomes, len(outcomes)
        n_units = int(units.max()) + 1 if len(units) else 0
        self._weights = [counts[:, units] for counts in resample_counts(n_units, seed)]
        self.values: dict[str, dict[str, float]] = {}
        self.samples: dict[str, dict[str, Doubles]] = {}

    def evaluate(self, name: str, probabilities: Doubles) -> dict[str, Interval]:
        """Computes the metrics of a candidate, by name; they are kept for `difference`."""
        model = EvaluatedModel(self.outcomes, probabilities)
        values = model.compute_metrics(np.ones((1, self.n)))
        chunks = [model.compute_metrics(weights) for weights in self._weights]
        self.values[name] = {metric: float(values[metric][0]) for metric in METRICS}
        self.samples[name] = {
            metric: np.concatenate([chunk[metric] for chunk in chunks]) for metric in METRICS
        }
        return {
            metric: percentile_interval(value, self.samples[name][metric], self.n)
            for metric, value in self.values[name].items()
        }

    def difference(self, name: str, baseline: str, metric: str) -> Interval:
        """Returns a candidate's metric minus the baseline's, with the interval of paired samples.

        Args:
            name: a candidate that was passed to `evaluate`.
            baseline: another one.
            metric: one of METRICS.
        """
        value = self.values[name][metric] - self.values[baseline][metric]
        samples = self.samples[name][metric] - self.samples[baseline][metric]
        return percentile_interval(value, samples, self.n)


def _positives_in_top(positives_above: Doubles, rows_above: Doubles, share: float) -> Doubles:
    """Positives among the first `share` of the rows of each sample, (samples,).

    Args:
        positives_above, rows_above: sums of weights up to each group of ties, (samples, groups).
        share: part of the rows; a group of ties that only partly fits counts in proportion.
    """
    captured = np.empty(len(positives_above))
    for n in range(len(positives_above)):
        x = np.concatenate([[0.0], rows_above[n]])
        y = np.concatenate([[0.0], positives_above[n]])
        captured[n] = np.interp(share * rows_above[n, -1], x, y)
    return captured


MIN_ROWS = 20


def plot_calibration(probabilities: Doubles, outcomes: Doubles, title: str) -> Figure | None:
    """Draws predicted against observed rates, and the gain curve.

    Left: reliability diagram, rows in ten groups by probability, with 95 % intervals of the
    observed rate. Right: share of all positives among those with the highest probabilities.

    Args:
        probabilities: predicted, (n,).
        outcomes: observed, 0 or 1, (n,).
        title: of the figure.

    Returns:
        None with fewer than MIN_ROWS rows, or without positives.
    """
    n = len(outcomes)
    if n < MIN_ROWS or not outcomes.any():
        return None
    figure, [ax, gain_ax] = new_panes(f"{title}, n = {n:,}", 1, 2)
    order = np.argsort(-probabilities, kind="stable")
    deciles = np.array_split(order, 10)
    predicted = np.array([probabilities[rows].mean() for rows in deciles])
    observed = np.array([outcomes[rows].mean() for rows in deciles])
    sizes = np.array([len(rows) for rows in deciles])
    half_width = 1.96 * np.sqrt(np.maximum(observed * (1 - observed), 0.25 / sizes) / sizes)
    top = float(max(predicted.max(), (observed + half_width).max())) * 1.05
    ax.errorbar(predicted, observed, half_width, fmt="o", markersize=4, linewidth=1)
    ax.plot([0, top], [0, top], color=BASELINE, linewidth=1)
    label_axes(ax, "predicted, mean of each tenth", "observed rate, 95 % intervals")
    share = np.arange(1, n + 1) / n
    gain_ax.plot(share, np.cumsum(outcomes[order]) / outcomes.sum())
    gain_ax.plot([0, 1], [0, 1], color=BASELINE, linewidth=1)
    label_axes(gain_ax, "share of rows, most probable first", "share of all positives")
    return figure
