"""Baselines that need no fitting: they forecast from the values of the panel alone."""

from __future__ import annotations

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
