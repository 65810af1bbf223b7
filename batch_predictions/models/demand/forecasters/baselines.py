"""Baselines without parameters: all they need is in the panel they forecast."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from batch_predictions.models.demand.base import Forecaster, impute
from batch_predictions.models.demand.panel import Doubles, Panel


class SeasonalNaive(Forecaster):
    """The value of one season before."""

    kind: ClassVar[str] = "seasonal_naive"

    def fit(self, panel: Panel) -> Self:
        """Nothing to learn."""
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """The last season over and over; where it has a gap, the last value before."""
        filled = filled_forward(panel.y)
        steps = np.arange(horizon) % min(panel.period, panel.columns)
        return impute(filled[:, panel.columns - min(panel.period, panel.columns) + steps])


class Mean28(Forecaster):
    """Mean of the last 28 days × the weekday's share in up to `weeks` seasons, drawn to none."""

    kind: ClassVar[str] = "mean28_weekday"

    def fit(self, panel: Panel) -> Self:
        """Nothing to learn."""
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Level × weekday."""
        period = panel.period
        level = mean_of(panel.y[:, -4 * period :])
        weeks = int(self.params.get("weeks", 40))
        recent, phases = panel.y[:, -weeks * period :], panel.phases()[-weeks * period :]
        shares = np.stack([mean_of(recent[:, phases == each]) for each in range(period)], axis=1)
        overall = mean_of(recent)[:, None]
        # One season's worth of a flat profile: a thin series has no profile of its own.
        weight = float(self.params.get("flat_seasons", 2.0))
        seen = np.isfinite(recent).sum(axis=1)[:, None] / period
        profile = np.divide(shares, overall, out=np.ones_like(shares), where=overall > 0)
        profile = (profile * seen + weight) / (seen + weight)
        return impute(level[:, None] * profile[:, panel.phases(horizon)[panel.columns :]])


def mean_of(values: Doubles) -> Doubles:
    """Means of rows without their gaps; 0 for a row of gaps."""
    there = np.isfinite(values)
    sums = np.where(there, values, 0.0).sum(axis=1)
    return np.asarray(sums / np.maximum(there.sum(axis=1), 1))


def filled_forward(values: Doubles) -> Doubles:
    """Rows in which a gap repeats the last value before it; 0 before the first."""
    there = np.isfinite(values)
    last = np.maximum.accumulate(np.where(there, np.arange(values.shape[1]), 0), axis=1)
    return np.nan_to_num(np.take_along_axis(values, last, axis=1), nan=0.0)
