"""Forecasters that fit a model to each series, and forecast the others by `Mean28`."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand.base import PerSeriesForecaster, clip_forecasts
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.forecasters.baselines import Mean28

STATUSES = ("fitted", "too short", "flat", "failed")
"""Outcomes of a series' fit, by their code in the table's column `status`."""
MAX_FORECAST_RATIO = 10.0
"""A forecast above this multiple of the largest observed value counts as diverged."""


class FallbackForecaster(PerSeriesForecaster):
    """A forecaster with a model of each series; `Mean28` forecasts where there is none."""

    @abstractmethod
    def filter_means(self, panel: Panel, horizon: int) -> Doubles:
        """Forecasts of the models, (n, horizon); nan where a series has no parameters."""

    @property
    def failures(self) -> dict[str, int]:
        """Number of series that could not be fitted, by reason; `Mean28` forecasts them."""
        counts = np.bincount(self.series_table["status"], minlength=len(STATUSES))
        return {
            status: int(counts[code])
            for code, status in enumerate(STATUSES)
            if status != "fitted" and counts[code]
        }

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Means of the models; `Mean28` for series without parameters or that diverge."""
        means = self.filter_means(panel, horizon)
        is_diverged = diverged(panel, means)
        if is_diverged.any():
            means[is_diverged] = Mean28().forecast(panel.take(is_diverged), horizon)
        return clip_forecasts(means)

    def methods(self, panel: Panel) -> list[str]:
        """This method, or `mean28_weekday` for series that fall back to it."""
        is_diverged = diverged(panel, self.filter_means(panel, 1))
        return [Mean28.kind if fell_back else self.name for fell_back in is_diverged]


def diverged(panel: Panel, means: Doubles) -> npt.NDArray[np.bool_]:
    """Series whose forecasts are not finite, or far above every observed value, (n,)."""
    largest = np.nanmax(np.where(np.isfinite(panel.y), panel.y, 0.0), axis=1, initial=0.0)
    limit = MAX_FORECAST_RATIO * np.maximum(largest, 1e-9)[:, None]
    return ~(np.isfinite(means) & (np.abs(means) <= limit)).all(axis=1)
