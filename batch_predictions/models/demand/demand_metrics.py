"""Errors of forecasts as ratios of sums over series, with bootstrap intervals over series.

Forecasts and observed values have the shape (origins, n, horizon). Values that were not observed
are nan and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.intervals import (
    Interval,
    multinomial_counts,
    percentile_interval,
)

WAPE, WAPE_SUM, BIAS = "wape", "wape_sum", "bias"
MSE_SUM = "mse_sum"
RMSSE, MASE, PINBALL = "rmsse", "mase", "pinball"
STOCK = "stock"
STOCK_FACTORS = np.geomspace(0.25, 32, 64)
"""Multiples of the forecasts that a stock may have."""
COVERAGE_80, COVERAGE_90 = "coverage_80", "coverage_90"


@dataclass(frozen=True)
class RatioMetric:
    """A metric that is a ratio of sums over series.

    Attributes:
        numerator: each series' part of the numerator, (n,).
        denominator: each series' part of the denominator, (n,).
    """

    numerator: Doubles
    denominator: Doubles

    @property
    def value(self) -> float:
        """Ratio of the sums over series; 0 where the denominator is 0."""
        return _ratio(self.numerator.sum(), self.denominator.sum())

    def resample(self, seed: int) -> Doubles:
        """The ratio on bootstrap samples of series, (samples,)."""
        counts = multinomial_counts(len(self.numerator), seed)
        denominators = counts @ self.denominator
        return np.divide(
            counts @ self.numerator,
            denominators,
            out=np.zeros(len(denominators)),
            where=denominators > 0,
        )

    def interval(self, seed: int) -> Interval:
        """Computes the ratio with its 95 % bootstrap interval over series."""
        return percentile_interval(self.value, self.resample(seed), len(self.numerator))


@dataclass(frozen=True)
class StockMetric:
    """The stock that a fill rate needs, where it is in proportion to forecasts, per unit of demand.

    Each series has `factor` times its forecast of a cycle at the cycle's begin, with one factor for
    all series: the least with which the stock covers the share `fill_rate` of all units.

    Attributes:
        covered: units of each series that are covered with each of `STOCK_FACTORS`, (n, factors).
        forecast: sum of the forecasts of each series, (n,).
        demand: units of each series, (n,).
        fill_rate: share of all units, between 0 and 1.
    """

    covered: Doubles
    forecast: Doubles
    demand: Doubles
    fill_rate: float

    @property
    def numerator(self) -> Doubles:
        """A value per series, whose number is that of the units of intervals."""
        return self.demand

    @property
    def value(self) -> float:
        """Stock per unit of demand; nan where the largest factor covers less than the share."""
        return float(self._stock(np.ones((1, len(self.demand))))[0])

    def resample(self, seed: int) -> Doubles:
        """The stock on bootstrap samples of series, (samples,)."""
        return self._stock(multinomial_counts(len(self.demand), seed))

    def interval(self, seed: int) -> Interval:
        """Computes the stock with its 95 % bootstrap interval over series."""
        return percentile_interval(self.value, self.resample(seed), len(self.demand))

    def _stock(self, counts: Doubles) -> Doubles:
        demand = np.where((units := counts @ self.demand) > 0, units, np.nan)
        shares = counts @ self.covered / demand[:, None]
        factors = [
            np.interp(self.fill_rate, share, STOCK_FACTORS, right=np.nan) for share in shares
        ]
        return np.asarray(np.asarray(factors) * (counts @ self.forecast) / demand)


def stock(forecast: Doubles, actual: Doubles, cycle_days: int, fill_rate: float) -> StockMetric:
    """The stock for a fill rate at the begins of cycles, one at each origin.

    Args:
        forecast: (origins, n, horizon).
        actual: observed values of the same shape; nan where nothing was observed.
        cycle_days: days from one order's receipt to the next one's, at most the horizon.
        fill_rate: share of all units that is to be covered, between 0 and 1.
    """
    is_known = np.isfinite(actual[:, :, :cycle_days])
    demand = np.maximum(np.nansum(actual[:, :, :cycle_days], axis=2), 0.0)
    expected = np.maximum(np.where(is_known, forecast[:, :, :cycle_days], 0.0).sum(axis=2), 0.0)
    covered = [np.minimum(demand, factor * expected).sum(axis=0) for factor in STOCK_FACTORS]
    return StockMetric(
        np.stack(covered, axis=1), expected.sum(axis=0), demand.sum(axis=0), fill_rate
    )


def difference(
    metric: RatioMetric | StockMetric, reference: RatioMetric | StockMetric, seed: int
) -> Interval:
    """Returns the metric minus the reference with its interval, paired by series.

    Args:
        metric: numerator and denominator of each series.
        reference: of the same series in the same order.
        seed: of the bootstrap samples.
    """
    samples = metric.resample(seed) - reference.resample(seed)
    return percentile_interval(metric.value - reference.value, samples, len(metric.numerator))


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else 0.0


def wape(forecast: Doubles, actual: Doubles) -> RatioMetric:
    """Weighted absolute percentage error of single columns: sum of |error| / sum of |actual|."""
    return RatioMetric(_sum_by_series(np.abs(forecast - actual)), _sum_by_series(np.abs(actual)))


def wape_sum(forecast: Doubles, actual: Doubles) -> RatioMetric:
    """WAPE of forecasts of the sum over the horizon."""
    errors = np.abs(np.nansum(forecast - actual, axis=2)).sum(axis=0)
    return RatioMetric(errors, _sum_by_series(np.abs(actual)))


def mse_sum(forecast: Doubles, actual: Doubles) -> RatioMetric:
    """Squared error of forecasts of the sum over the horizon, as a share of the squared sums.

    The expected value has the least squared error, where that of the absolute error is the median.
    """
    sums = np.nansum(np.where(np.isfinite(actual), actual, 0.0), axis=2)
    errors = np.nansum(forecast - actual, axis=2)
    return RatioMetric((errors**2).sum(axis=0), (sums**2).sum(axis=0))


def bias(forecast: Doubles, actual: Doubles) -> RatioMetric:
    """Sum of forecast - actual, as a share of the sum of |actual|; positive: too high."""
    return RatioMetric(_sum_by_series(forecast - actual), _sum_by_series(np.abs(actual)))


def rmsse(forecast: Doubles, actual: Doubles, naive_mse: Doubles) -> RatioMetric:
    """Root mean squared scaled error, mean over series.

    `naive_mse` is the mean squared error of the seasonal naive forecast, (n,).
    """
    return _scaled_error((forecast - actual) ** 2, naive_mse, np.sqrt)


def mase(forecast: Doubles, actual: Doubles, naive_mae: Doubles) -> RatioMetric:
    """Mean absolute scaled error, mean over series.

    `naive_mae` is the mean absolute error of the seasonal naive forecast, (n,).
    """
    return _scaled_error(np.abs(forecast - actual), naive_mae, lambda errors: errors)


def pinball(quantiles: Doubles, actual: Doubles, levels: Sequence[float]) -> RatioMetric:
    """Mean pinball loss over the levels (last axis of `quantiles`), as a share of actual.

    Args:
        quantiles: (origins, n, horizon, levels).
        actual: observed values, (origins, n, horizon); nan where nothing was observed.
        levels: of the quantiles, between 0 and 1.
    """
    error, level = actual[..., None] - quantiles, np.asarray(levels)
    loss = np.maximum(level * error, (level - 1) * error).mean(axis=-1)
    return RatioMetric(_sum_by_series(loss), _sum_by_series(np.abs(actual)))


def coverage(lower: Doubles, upper: Doubles, actual: Doubles) -> RatioMetric:
    """Share of observed values in the intervals, ends included.

    Args:
        lower: ends of the intervals, (origins, n, horizon).
        upper: of the same shape.
        actual: observed values of the same shape; nan where nothing was observed.
    """
    is_known = np.isfinite(actual)
    is_covered = is_known & (actual >= lower) & (actual <= upper)
    return RatioMetric(
        is_covered.sum(axis=(0, 2)).astype(float), is_known.sum(axis=(0, 2)).astype(float)
    )


def _sum_by_series(values: Doubles) -> Doubles:
    return np.asarray(np.nansum(values, axis=(0, 2)))


def _scaled_error(
    errors: Doubles, scale: Doubles, transform: Callable[[Doubles], Doubles]
) -> RatioMetric:
    """Mean over series of transform(mean error / scale); series without a scale are left out."""
    counts = np.isfinite(errors).sum(axis=(0, 2))
    means = np.divide(
        _sum_by_series(errors), counts * scale, out=np.zeros(len(scale)), where=scale * counts > 0
    )
    is_usable = (scale > 0) & (counts > 0)
    return RatioMetric(np.where(is_usable, transform(means), 0.0), is_usable.astype(float))
