"""Errors of forecasts, series by series, and their intervals by bootstrap over series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from batch_predictions.models.common.bootstrap import (
    Interval,
    multinomial_counts,
    percentile_interval,
)
from batch_predictions.models.demand.panel import Doubles

WAPE, WAPE_SUM, BIAS = "wape", "wape_sum", "bias"
RMSSE, MASE, PINBALL = "rmsse", "mase", "pinball"
COVERAGE_80, COVERAGE_90 = "coverage_80", "coverage_90"


@dataclass(frozen=True)
class RatioMetric:
    """A measure as a quotient of sums over series: resampled series by series.

    Attributes:
        above: parts of the numerator, (n,).
        below: parts of the denominator, (n,).
    """

    above: Doubles
    below: Doubles

    @property
    def value(self) -> float:
        """The quotient; 0 of nothing."""
        return _share(self.above.sum(), self.below.sum())

    def resampled(self, seed: int) -> Doubles:
        """Quotients of samples of series with replacement, (samples,)."""
        counts = multinomial_counts(len(self.above), seed)
        below = counts @ self.below
        return np.divide(counts @ self.above, below, out=np.zeros(len(below)), where=below > 0)

    def interval(self, seed: int) -> Interval:
        """The value with its 95 % interval."""
        return percentile_interval(self.value, self.resampled(seed), len(self.above))


def difference(ours: RatioMetric, theirs: RatioMetric, seed: int) -> Interval:
    """Ours less theirs, paired by series."""
    samples = ours.resampled(seed) - theirs.resampled(seed)
    return percentile_interval(ours.value - theirs.value, samples, len(ours.above))


def relative(ours: RatioMetric, theirs: RatioMetric, seed: int) -> Interval:
    """Ours over theirs less 1, paired by series."""
    value, there = _share(ours.value, theirs.value) - 1, theirs.resampled(seed)
    samples = np.divide(ours.resampled(seed), there, out=np.ones(len(there)), where=there > 0) - 1
    return percentile_interval(value, samples, len(ours.above))


def _share(above: float, below: float) -> float:
    return float(above / below) if below else 0.0


# Of forecasts and what came, (origins, n, horizon); nan is left out.


def wape(forecast: Doubles, actual: Doubles) -> RatioMetric:
    """Weighted absolute percentage error of single columns."""
    return RatioMetric(_total(np.abs(forecast - actual)), _total(np.abs(actual)))


def wape_sum(forecast: Doubles, actual: Doubles) -> RatioMetric:
    """The same of the horizon's sum."""
    errors = np.abs(np.nansum(forecast - actual, axis=2)).sum(axis=0)
    return RatioMetric(errors, _total(np.abs(actual)))


def bias(forecast: Doubles, actual: Doubles) -> RatioMetric:
    """Forecast less actual, as a share of actual."""
    return RatioMetric(_total(forecast - actual), _total(np.abs(actual)))


def rmsse(forecast: Doubles, actual: Doubles, scale: Doubles) -> RatioMetric:
    """Root mean square error over that of the naive of one season, mean of series."""
    return _scaled((forecast - actual) ** 2, scale, np.sqrt)


def mase(forecast: Doubles, actual: Doubles, spread: Doubles) -> RatioMetric:
    """Mean absolute error over that of the naive of one season, mean of series."""
    return _scaled(np.abs(forecast - actual), spread, lambda each: each)


def pinball(quantiles: Doubles, actual: Doubles, levels: Sequence[float]) -> RatioMetric:
    """Mean pinball loss over levels, as a share of actual; `levels` are the last axis."""
    error, level = actual[..., None] - quantiles, np.asarray(levels)
    loss = np.maximum(level * error, (level - 1) * error).mean(axis=-1)
    return RatioMetric(_total(loss), _total(np.abs(actual)))


def coverage(lower: Doubles, upper: Doubles, actual: Doubles) -> RatioMetric:
    """Share of columns that fell between, ends included."""
    there = np.isfinite(actual)
    inside = there & (actual >= lower) & (actual <= upper)
    return RatioMetric(inside.sum(axis=(0, 2)).astype(float), there.sum(axis=(0, 2)).astype(float))


def _total(values: Doubles) -> Doubles:
    return np.asarray(np.nansum(values, axis=(0, 2)))


def _scaled(errors: Doubles, scale: Doubles, after: Callable[[Doubles], Doubles]) -> RatioMetric:
    there = np.isfinite(errors).sum(axis=(0, 2))
    means = np.divide(
        _total(errors), there * scale, out=np.zeros(len(scale)), where=scale * there > 0
    )
    usable = (scale > 0) & (there > 0)
    return RatioMetric(np.where(usable, after(means), 0.0), usable.astype(float))
