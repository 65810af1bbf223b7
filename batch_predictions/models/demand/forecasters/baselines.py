"""Forecasters that need no fitting: baselines, and Naive2 and Theta of the M4 competition.

The last two forecast the seasonally adjusted series. A series is adjusted by classical
decomposition where a 90 % test of its autocorrelation finds a season: multiplicative where all
values are positive, additive otherwise.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand.base import Forecaster, ForecasterParams, clip_forecasts
from batch_predictions.models.demand.data.panel import Panel

LEVEL_SEASONS = 4
"""Seasons of the recent mean: 28 days for a season of 7."""


class SeasonalNaive(Forecaster):
    """Forecasts the value of one season ago."""

    kind: ClassVar[str] = "seasonal_naive"

    def fit(self, panel: Panel) -> Self:
        """Does nothing: the forecast needs the panel's values alone."""
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Repeats the last season; a missing value is replaced by the last one before it."""
        values = forward_fill(panel.y)
        season = min(panel.period, panel.n_columns)
        steps = np.arange(horizon) % season
        return clip_forecasts(values[:, panel.n_columns - season + steps])


class Mean(Forecaster):
    """Mean of all known days, the same for each coming day."""

    kind: ClassVar[str] = "mean"

    def fit(self, panel: Panel) -> Self:
        """Does nothing: the forecast needs the panel's values alone."""
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Repeats the mean of each series."""
        return clip_forecasts(np.repeat(finite_mean(panel.y)[:, None], horizon, axis=1))


@dataclass(frozen=True)
class Mean28Params(ForecasterParams):
    """Parameters of the forecaster `Mean28`.

    Attributes:
        weeks: seasons from which the weekday profile is estimated, at most.
        flat_seasons: seasons of a flat profile that are averaged with the observed ones, so that
            series with few sales have nearly the same forecast on all weekdays.
    """

    weeks: int = 40
    flat_seasons: float = 2.0


class Mean28(Forecaster):
    """Mean of the last 28 days, times the weekday's ratio to the mean of all weekdays."""

    kind: ClassVar[str] = "mean28_weekday"
    params_class: ClassVar[type[ForecasterParams]] = Mean28Params
    params: Mean28Params

    def fit(self, panel: Panel) -> Self:
        """Does nothing: the forecast needs the panel's values alone."""
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Multiplies the level of each series by its weekday profile."""
        period, weeks = panel.period, self.params.weeks
        level = finite_mean(panel.y[:, -LEVEL_SEASONS * period :])
        recent, phases = panel.y[:, -weeks * period :], panel.phases()[-weeks * period :]
        phase_means = np.stack(
            [finite_mean(recent[:, phases == phase]) for phase in range(period)], axis=1
        )
        overall = finite_mean(recent)[:, None]
        profile = np.divide(phase_means, overall, out=np.ones_like(phase_means), where=overall > 0)
        seasons = np.isfinite(recent).sum(axis=1)[:, None] / period
        flat_seasons = self.params.flat_seasons
        profile = (profile * seasons + flat_seasons) / (seasons + flat_seasons)
        future_phases = panel.phases(horizon)[panel.n_columns :]
        return clip_forecasts(level[:, None] * profile[:, future_phases])


def finite_mean(values: Doubles) -> Doubles:
    """Mean of the finite values of each row, (n,); 0 for a row without any."""
    is_finite = np.isfinite(values)
    sums = np.where(is_finite, values, 0.0).sum(axis=1)
    return np.asarray(sums / np.maximum(is_finite.sum(axis=1), 1))


def forward_fill(values: Doubles) -> Doubles:
    """Rows in which a missing value repeats the last finite one before it; 0 before the first."""
    columns = np.where(np.isfinite(values), np.arange(values.shape[1]), 0)
    last_finite = np.maximum.accumulate(columns, axis=1)
    return np.nan_to_num(np.take_along_axis(values, last_finite, axis=1), nan=0.0)


Z90 = 1.645
"""Quantile of the normal distribution for a two-sided 90 % test."""


class SeasonallyAdjustedForecaster(Forecaster):
    """Forecasts the seasonally adjusted values and restores the season."""

    def fit(self, panel: Panel) -> Self:
        """Does nothing: series are decomposed when they are forecast."""
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Forecasts each series from its last observation."""
        forecasts = np.zeros((len(panel), horizon))
        for row, values in enumerate(panel.y):
            observed = np.flatnonzero(np.isfinite(values))
            if not len(observed):
                continue
            y = values[observed[0] : observed[-1] + 1]
            # A gap within a series repeats the value before it.
            y = y[np.maximum.accumulate(np.where(np.isfinite(y), np.arange(len(y)), 0))]
            missing_columns = panel.n_columns - 1 - observed[-1]
            adjustment = SeasonalAdjustment(y, panel.period)
            adjusted = self._forecast_adjusted(adjustment.remove(y), horizon + missing_columns)
            forecasts[row] = adjustment.restore(adjusted, len(y))[missing_columns:]
        return clip_forecasts(forecasts)

    @abstractmethod
    def _forecast_adjusted(self, y: Doubles, horizon: int) -> Doubles:
        """Forecasts of one adjusted series, (horizon,)."""


class Naive2(SeasonallyAdjustedForecaster):
    """Forecasts the last seasonally adjusted value."""

    kind: ClassVar[str] = "naive2"

    def _forecast_adjusted(self, y: Doubles, horizon: int) -> Doubles:
        return np.full(horizon, y[-1])


class Theta(SeasonallyAdjustedForecaster):
    """Mean of the linear trend and of exponential smoothing of the series with double curvature.

    Assimakopoulos and Nikolopoulos 2000.
    """

    kind: ClassVar[str] = "theta"

    def _forecast_adjusted(self, y: Doubles, horizon: int) -> Doubles:
        from batch_predictions.models.demand.kernels.smoothing_kernels import smoothed_level

        if len(y) < 3:
            return np.full(horizon, y[-1])
        times = np.arange(1.0, len(y) + 1)
        slope, intercept = np.polyfit(times, y, 1)
        level = smoothed_level(2 * y - (intercept + slope * times))
        trend = intercept + slope * np.arange(len(y) + 1.0, len(y) + horizon + 1)
        return np.asarray(np.maximum(0.5 * (trend + level), 0.0))


class SeasonalAdjustment:
    """Seasonal indices of one series; neutral ones where the test finds no season.

    Attributes:
        period: columns of a season.
        is_multiplicative: whether indices are factors; otherwise they are added.
        indices: one for each phase, (period,); phase 0 is that of the first value.
    """

    def __init__(self, y: Doubles, period: int) -> None:
        self.period = period
        self.is_multiplicative = bool((y > 0).all())
        self.indices = np.full(period, 1.0 if self.is_multiplicative else 0.0)
        if is_seasonal(y, period):
            self.indices = self._decompose(y)

    def remove(self, y: Doubles) -> Doubles:
        """Removes the season: divides the series by its seasonal indices, or subtracts them."""
        pattern = self.indices[np.arange(len(y)) % self.period]
        return y / pattern if self.is_multiplicative else y - pattern

    def restore(self, forecasts: Doubles, start: int) -> Doubles:
        """Forecasts with the season; `start` is the number of values before the first of them."""
        pattern = self.indices[np.arange(start, start + len(forecasts)) % self.period]
        return forecasts * pattern if self.is_multiplicative else forecasts + pattern

    def _decompose(self, y: Doubles) -> Doubles:
        """Mean ratio, or difference, of each phase to the centred moving average."""
        period = self.period
        kernel = np.full(period, 1.0 / period)
        if period % 2 == 0:
            kernel = np.r_[0.5, np.ones(period - 1), 0.5] / period
        trend, half = np.convolve(y, kernel, "valid"), period // 2
        centre = y[half : half + len(trend)]
        detrended = centre / trend if self.is_multiplicative else centre - trend
        phases = np.arange(half, half + len(trend)) % period
        means = np.bincount(phases, detrended, period) / np.bincount(phases, minlength=period)
        indices = means / means.mean() if self.is_multiplicative else means - means.mean()
        return np.asarray(indices)


def is_seasonal(y: Doubles, period: int) -> bool:
    """Returns whether the autocorrelation at one season passes a 90 % test (Bartlett)."""
    if period < 2 or len(y) < 3 * period or np.ptp(y) == 0:
        return False
    centred = y - y.mean()
    autocorrelation = np.array(
        [(centred[lag:] * centred[:-lag]).sum() for lag in range(1, period + 1)]
    )
    autocorrelation /= (centred**2).sum()
    limit = Z90 / np.sqrt(len(y)) * np.sqrt(1 + 2 * (autocorrelation[:-1] ** 2).sum())
    return bool(abs(autocorrelation[-1]) > limit)
