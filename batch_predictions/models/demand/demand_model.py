"""The stored demand model of one level: a forecaster with the calibration of its quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from batch_predictions.models.demand import demand_registry
from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.conformal import QUANTILE_LEVELS, ConformalCalibration
from batch_predictions.models.demand.data.panel import Doubles, Integers, Panel


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

    def sum_means(self, days: int | Integers) -> Doubles:
        """Means of the sum of the first `days` columns, one number or (n,): (n,)."""
        lengths = np.broadcast_to(np.asarray(days, np.int64), (len(self.mean),))
        totals = self.mean.cumsum(axis=1)[np.arange(len(self.mean)), lengths - 1]
        return np.asarray(totals)

    def sum_quantiles(self, days: int | Integers, levels: Sequence[float]) -> Doubles:
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
        """Writes the forecaster and the calibration, each in its own folder."""
        self.forecaster.save(folder / "forecaster")
        self.calibration.save(folder / "calibration")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote; raises ValueError for an unknown kind of forecaster."""
        forecaster = demand_registry.load(folder / "forecaster")
        return cls(forecaster, ConformalCalibration.load(folder / "calibration"))
