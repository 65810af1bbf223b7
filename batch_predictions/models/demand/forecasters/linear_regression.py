"""Linear regressions, one per series, on trend, weekday, holidays and covariates."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand.base import PerSeriesForecaster, clip_forecasts
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.forecasters.baselines import Mean28

CHUNK_SERIES = 2000
"""Series that are solved at a time."""
RIDGE = 1e-6
"""Ridge penalty per observation, so that every system has a solution."""
TREND_UNIT = 365.0
"""Columns over which the trend changes by 1."""


class LinearRegression(PerSeriesForecaster):
    """Least squares on a constant, a trend, the weekday and holidays."""

    kind: ClassVar[str] = "linear_regression"
    uses_covariates: ClassVar[bool] = False

    def fit(self, panel: Panel) -> Self:
        """Solves the normal equations of each series over its observed columns."""
        covariates = sorted(panel.future_covariates) if self.uses_covariates else []
        self.fitted_values = {
            "centre": float(panel.start_number + panel.n_columns),
            "covariates": covariates,
        }
        solutions = []
        for start in range(0, len(panel), CHUNK_SERIES):
            chunk = panel.take(np.arange(start, min(start + CHUNK_SERIES, len(panel))))
            x, is_known = self._design_matrix(chunk, 0), np.isfinite(chunk.y)
            known_x = np.where(is_known[:, :, None], x, 0.0)
            gram = np.einsum("ntp,ntq->npq", known_x, x)
            moments = np.einsum("ntp,nt->np", known_x, np.where(is_known, chunk.y, 0.0))
            gram += RIDGE * (1 + is_known.sum(axis=1))[:, None, None] * np.eye(x.shape[2])
            solutions.append(np.linalg.solve(gram, moments[..., None])[..., 0])
        return self.set_series_table(panel.ids, coefficients=np.concatenate(solutions))

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """The regression in the future columns; `Mean28` for series that were not fitted."""
        rows, forecasts = self.table_rows(panel), np.empty((len(panel), horizon))
        coefficients = self.series_table["coefficients"]
        for start in range(0, len(panel), CHUNK_SERIES):
            chunk = np.arange(start, min(start + CHUNK_SERIES, len(panel)))
            x = self._design_matrix(panel.take(chunk), horizon)[:, panel.n_columns :]
            forecasts[chunk] = np.einsum("nhp,np->nh", x, coefficients[rows[chunk]])
        if (rows < 0).any():
            forecasts[rows < 0] = Mean28().forecast(panel.take(rows < 0), horizon)
        return clip_forecasts(forecasts)

    def methods(self, panel: Panel) -> list[str]:
        """Names each series' method: this one, or `mean28_weekday` where it was not fitted."""
        return [self.name if row >= 0 else Mean28.kind for row in self.table_rows(panel)]

    def _design_matrix(self, panel: Panel, horizon: int) -> Doubles:
        """Regressors of each column, (n, t + horizon, p)."""
        trend = (panel.times(horizon) - self.fitted_values["centre"]) / TREND_UNIT
        phases = panel.phases(horizon)[:, None] == np.arange(1, panel.period)
        common = np.column_stack([np.ones_like(trend), trend, phases, panel.holiday_flags(horizon)])
        parts = [np.broadcast_to(common, (len(panel), *common.shape))]
        for name in self.fitted_values["covariates"]:
            if name in panel.future_covariates:
                values = np.nan_to_num(panel.covariate(name, horizon), nan=0.0)
            else:
                values = np.zeros((len(panel), len(trend)))
            parts.append(values[:, :, None])
        return np.concatenate(parts, axis=2)


class LinearPromotions(LinearRegression):
    """Linear regression that also has the covariates known in advance, such as promotions."""

    kind: ClassVar[str] = "linear_promotions"
    uses_covariates: ClassVar[bool] = True
