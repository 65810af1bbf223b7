"""Linear regression of each series on the calendar and a trend: the strawman of the literature."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from batch_predictions.models.demand.base import PerSeriesForecaster, impute
from batch_predictions.models.demand.forecasters.baselines import Mean28
from batch_predictions.models.demand.panel import Doubles, Panel

PART = 2000
RIDGE = 1e-6
YEAR = 365.0


class LinearRegression(PerSeriesForecaster):
    """Least squares on a constant, a trend, the weekday and holidays."""

    kind: ClassVar[str] = "linear_regression"
    promotions: ClassVar[bool] = False

    def fit(self, panel: Panel) -> Self:
        """One solution for each series, over its own days."""
        self.params["centre"] = float(panel.offset + panel.columns)
        names = sorted(panel.future_covariates) if self.promotions else []
        self.params["covariates"] = names
        found = []
        for start in range(0, len(panel), PART):
            part = panel.take(np.arange(start, min(start + PART, len(panel))))
            x, there = self._design(part, 0), np.isfinite(part.y)
            masked = np.where(there[:, :, None], x, 0.0)
            left = np.einsum("ntp,ntq->npq", masked, x)
            right = np.einsum("ntp,nt->np", masked, np.where(there, part.y, 0.0))
            left += RIDGE * (1 + there.sum(axis=1))[:, None, None] * np.eye(x.shape[2])
            found.append(np.linalg.solve(left, right[..., None])[..., 0])
        return self.keep(panel.ids, coefficients=np.concatenate(found))

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """The lines, continued; the baseline for series that were not fitted."""
        rows, found = self.rows(panel), np.empty((len(panel), horizon))
        for start in range(0, len(panel), PART):
            part = np.arange(start, min(start + PART, len(panel)))
            x = self._design(panel.take(part), horizon)[:, panel.columns :]
            found[part] = np.einsum("nhp,np->nh", x, self.learned["coefficients"][rows[part]])
        if (rows < 0).any():
            found[rows < 0] = Mean28().forecast(panel.take(rows < 0), horizon)
        return impute(found)

    def methods(self, panel: Panel) -> list[str]:
        """Its name, or the baseline's."""
        return [self.name if row >= 0 else Mean28.kind for row in self.rows(panel)]

    def _design(self, panel: Panel, horizon: int) -> Doubles:
        times = (panel.times(horizon) - self.params["centre"]) / YEAR
        phases = panel.phases(horizon)[:, None] == np.arange(1, panel.period)
        common = np.column_stack([np.ones_like(times), times, phases, panel.flags(horizon)])
        parts = [np.broadcast_to(common, (len(panel), *common.shape))]
        for name in self.params["covariates"]:
            # A cause that is not told is not there.
            known = panel.known(name, horizon) if name in panel.future_covariates else None
            shape = (len(panel), len(times))
            values = np.zeros(shape) if known is None else np.nan_to_num(known, nan=0.0)
            parts.append(values[:, :, None])
        return np.concatenate(parts, axis=2)


class LinearPromotions(LinearRegression):
    """The same with what is known ahead, such as promotions."""

    kind: ClassVar[str] = "linear_promotions"
    promotions: ClassVar[bool] = True
