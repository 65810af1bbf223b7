"""Naive2 and Theta as the M4 competition's benchmarks define them.

Both adjust for the season first, where a 90 % test of the autocorrelation says that there is one:
classical multiplicative decomposition, additive where values are not all positive.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Self

import numpy as np

from batch_predictions.models.demand.base import Forecaster, impute
from batch_predictions.models.demand.panel import Doubles, Panel

NINETY = 1.645
"""Of the normal distribution, two-sided 90 %."""


class SeasonallyAdjusted(Forecaster):
    """Forecasts the seasonally adjusted values and puts the season back."""

    def fit(self, panel: Panel) -> Self:
        """Nothing to learn: all it needs is in the panel."""
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Series by series, each from its own end."""
        found = np.zeros((len(panel), horizon))
        for row, values in enumerate(panel.y):
            there = np.flatnonzero(np.isfinite(values))
            if not len(there):
                continue
            y = values[there[0] : there[-1] + 1]
            # A gap within a series repeats the value before it.
            y = y[np.maximum.accumulate(np.where(np.isfinite(y), np.arange(len(y)), 0))]
            late = panel.columns - 1 - there[-1]
            adjusted = SeasonalAdjustment(y, panel.period)
            ahead = self._ahead(adjusted.remove(y), horizon + late)
            found[row] = adjusted.put_back(ahead, len(y))[late:]
        return impute(found)

    @abstractmethod
    def _ahead(self, y: Doubles, horizon: int) -> Doubles:
        """Forecasts of one adjusted series."""


class Naive2(SeasonallyAdjusted):
    """The last adjusted value."""

    kind: ClassVar[str] = "naive2"

    def _ahead(self, y: Doubles, horizon: int) -> Doubles:
        return np.full(horizon, y[-1])


class Theta(SeasonallyAdjusted):
    """The mean of the trend line and of the smoothed line of twice the curvature."""

    kind: ClassVar[str] = "theta"

    def _ahead(self, y: Doubles, horizon: int) -> Doubles:
        from batch_predictions.models.demand.forecasters.smoothing_kernels import smoothed

        if len(y) < 3:
            return np.full(horizon, y[-1])
        times = np.arange(1.0, len(y) + 1)
        slope, constant = np.polyfit(times, y, 1)
        level = smoothed(2 * y - (constant + slope * times))
        line = constant + slope * np.arange(len(y) + 1.0, len(y) + horizon + 1)
        return np.asarray(np.maximum(0.5 * (line + level), 0.0))


class SeasonalAdjustment:
    """Seasonal indices of a series; neutral ones where the test finds no season."""

    def __init__(self, y: Doubles, period: int) -> None:
        self.period = period
        self.multiplied = bool((y > 0).all())
        self.indices = np.full(period, 1.0 if self.multiplied else 0.0)
        if is_seasonal(y, period):
            self.indices = self._decompose(y)

    def remove(self, y: Doubles) -> Doubles:
        """The adjusted series."""
        pattern = self.indices[np.arange(len(y)) % self.period]
        return y / pattern if self.multiplied else y - pattern

    def put_back(self, forecasts: Doubles, after: int) -> Doubles:
        """Forecasts of the values after `after` ones."""
        pattern = self.indices[np.arange(after, after + len(forecasts)) % self.period]
        return forecasts * pattern if self.multiplied else forecasts + pattern

    def _decompose(self, y: Doubles) -> Doubles:
        """Mean of each phase's ratio, or difference, to the centred moving average."""
        period = self.period
        kernel = np.full(period, 1.0 / period)
        if period % 2 == 0:
            kernel = np.r_[0.5, np.ones(period - 1), 0.5] / period
        trend, half = np.convolve(y, kernel, "valid"), period // 2
        inner = y[half : half + len(trend)]
        rest = inner / trend if self.multiplied else inner - trend
        phases = np.arange(half, half + len(trend)) % period
        sums = np.bincount(phases, rest, period) / np.bincount(phases, minlength=period)
        found = sums / sums.mean() if self.multiplied else sums - sums.mean()
        return np.asarray(found)


def is_seasonal(y: Doubles, period: int) -> bool:
    """Whether the autocorrelation at one season passes the 90 % test, with Bartlett's variance."""
    if period < 2 or len(y) < 3 * period or np.ptp(y) == 0:
        return False
    centred = y - y.mean()
    whole = (centred**2).sum()
    found = np.array([(centred[lag:] * centred[:-lag]).sum() for lag in range(1, period + 1)])
    found /= whole
    limit = NINETY / np.sqrt(len(y)) * np.sqrt(1 + 2 * (found[:-1] ** 2).sum())
    return bool(abs(found[-1]) > limit)
