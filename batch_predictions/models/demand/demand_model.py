"""The stored demand model of one level: a forecaster with the calibration of its quantiles.

The best candidate of each series is chosen by its errors at past origins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from batch_predictions.core.arrays import Doubles, Int64s
from batch_predictions.models.demand import demand_registry
from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.conformal import QUANTILE_LEVELS, ConformalCalibration
from batch_predictions.models.demand.data.panel import Panel


@dataclass(frozen=True)
class DemandPrediction:
    """Forecasts of a panel.

    Attributes:
        mean: (n, horizon).
        quantiles: (n, horizon, levels), ordered and not negative.
        levels: levels of the quantiles, in 0 to 1.
        methods: name of the method that forecast each series.
        calibration: calibration of the quantiles of sums.
    """

    mean: Doubles
    quantiles: Doubles
    levels: tuple[float, ...]
    methods: list[str]
    calibration: ConformalCalibration

    def sum_means(self, days: int | Int64s) -> Doubles:
        """Means of the sum of the first `days` columns, one number or (n,): (n,)."""
        lengths = np.broadcast_to(np.asarray(days, np.int64), (len(self.mean),))
        totals = self.mean.cumsum(axis=1)[np.arange(len(self.mean)), lengths - 1]
        return np.asarray(totals)

    def sum_quantiles(self, days: int | Int64s, levels: Sequence[float]) -> Doubles:
        """Quantiles of the sum of the first `days` columns, one number or (n,): (n, levels)."""
        return self.calibration.sum_quantiles(self.mean, days, levels)


@dataclass(frozen=True)
class DemandModel:
    """A fitted forecaster with calibrated quantiles."""

    forecaster: Forecaster
    calibration: ConformalCalibration

    def predict(
        self, panel: Panel, horizon: int, levels: Sequence[float] = QUANTILE_LEVELS
    ) -> DemandPrediction:
        """Forecasts means and quantiles of the `horizon` columns after the panel.

        Args:
            panel: the series, known up to its last column.
            horizon: columns to forecast.
            levels: of the quantiles, between 0 and 1.
        """
        mean = self.forecaster.forecast(panel, horizon)
        quantiles = self.calibration.quantiles(mean, levels)
        methods = self.forecaster.methods(panel)
        return DemandPrediction(mean, quantiles, tuple(levels), methods, self.calibration)

    def save(self, folder: Path) -> None:
        """Writes the forecaster and the calibration into a folder each."""
        self.forecaster.save(folder / "forecaster")
        self.calibration.save(folder / "calibration")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote; raises ValueError for an unknown kind of forecaster."""
        forecaster = demand_registry.load(folder / "forecaster")
        return cls(forecaster, ConformalCalibration.load(folder / "calibration"))


SHRINKAGE_ORIGINS = 3.0
"""With this number of past origins, the losses of a series count as much as those of all series."""


def forecast_by_champions(
    forecasts: Mapping[str, Doubles], actual: Doubles
) -> tuple[Doubles, Int64s]:
    """Forecasts of each series by its best candidate, chosen at each origin from earlier ones only.

    At the first origin nothing is known yet: the first candidate, the baseline, forecasts.

    Args:
        forecasts: by candidate, (origins, n, horizon).
        actual: observed values of the same shape; nan where unknown.

    Returns:
        forecasts: (origins, n, horizon).
        champions: number of the best candidate of each series by all origins, (n,).
    """
    losses = np.stack([_losses(forecast, actual) for forecast in forecasts.values()])
    stacked = np.stack(list(forecasts.values()))
    selected = np.empty_like(actual)
    series = np.arange(actual.shape[1])
    for origin in range(actual.shape[0]):
        champions = _champions(losses[:, :origin])
        selected[origin] = stacked[champions, origin, series]
    return selected, _champions(losses)


def best_overall(
    forecasts: Mapping[str, Doubles], actual: Doubles, candidates: Sequence[str]
) -> str:
    """Returns the candidate with the smallest loss over all origins and series.

    Args:
        forecasts: by candidate, (origins, n, horizon) each.
        actual: observed values, (origins, n, horizon).
        candidates: names to choose from, keys of `forecasts`.
    """
    return min(candidates, key=lambda name: _losses(forecasts[name], actual).sum())


def _losses(forecast: Doubles, actual: Doubles) -> Doubles:
    """Absolute errors of the columns plus the absolute error of their sum, (origins, n)."""
    error = np.nan_to_num(forecast - actual, nan=0.0)
    return np.asarray(np.abs(error).sum(axis=2) + np.abs(error.sum(axis=2)))


def _champions(losses: Doubles) -> Int64s:
    """Number of the best candidate of each series, (n,), by losses (candidates, origins, n).

    The losses of a series are shrunk towards those of all series, since the best candidate of a few
    days is often best by chance.
    """
    n_origins, n = losses.shape[1], losses.shape[2]
    if n_origins == 0:
        return np.zeros(n, np.int64)
    by_series, overall = losses.sum(axis=1), losses.sum(axis=(1, 2))
    typical = by_series.mean(axis=0)
    relative_overall = overall / max(overall.mean(), 1e-12)
    weight = SHRINKAGE_ORIGINS / n_origins
    shrunk = by_series + weight * typical * relative_overall[:, None]
    return np.asarray(shrunk.argmin(axis=0))
