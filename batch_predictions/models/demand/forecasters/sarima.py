"""SARIMA of thousands of series of one order at once: statsmodels' definition, compiled.

Exact Gaussian likelihood of the differenced series with the scale concentrated out. Parameters are
an open table; a forecast filters the panel's values with them, so daily inference refits nothing.
"""

from __future__ import annotations

import itertools
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from batch_predictions.models.demand.base import PerSeriesForecaster, impute
from batch_predictions.models.demand.forecasters.baselines import Mean28
from batch_predictions.models.demand.forecasters.linear import LinearPromotions
from batch_predictions.models.demand.panel import Doubles, Integers, Panel

ORDER = (1, 0, 1, 0, 1, 1)
"""p, d, q, P, D, Q where none is given."""
STATUS = ("fitted", "too short", "flat", "failed")
MAX_FORECAST_RATIO = 10.0
"""A forecast beyond so many times the largest value is not one."""


class Sarima(PerSeriesForecaster):
    """Parameters: `order` (p, d, q, P, D, Q); `tries`: starts followed; `log`: where positive;
    `seasons`: the newest of them are learned from; `regression`: on what is known ahead, SARIMA
    then runs on what the regression leaves."""

    kind: ClassVar[str] = "sarima"

    def order(self, period: int) -> Integers:
        """p, d, q, P, D, Q, s."""
        return np.array([*self.params.get("order", ORDER), period], np.int64)

    def fit(self, panel: Panel) -> Self:
        """Maximum likelihood of every series; status and likelihood are kept beside parameters."""
        from batch_predictions.models.demand.forecasters.sarima_kernels import fit_rows

        order = self.order(panel.period)
        effects = self._effects(panel)
        self.keep(panel.ids, **effects)
        y, first, last, _ = self._prepared(panel)
        if seasons := self.params.get("seasons"):
            first = np.maximum(first, panel.columns - int(seasons) * panel.period)
        params = np.empty((len(panel), int(order[[0, 2, 3, 5]].sum())))
        facts = np.empty((len(panel), 3))
        starts = places_to_start(order)
        # Orders with both kinds of terms of one season have several optima.
        several = (order[0] and order[2]) or (order[3] and order[5])
        tries = int(self.params.get("tries", 3 if several else 1))
        fit_rows(y, first, last, order, starts, tries, params, facts)
        gone = (last <= first) | _has_gap(y, first, last)
        params[gone], facts[gone, 2] = np.nan, STATUS.index("failed")
        return self.keep(
            panel.ids,
            parameters=params,
            log_likelihood=facts[:, 0],
            scale=facts[:, 1],
            status=facts[:, 2].astype(np.int64),
            **effects,
        )

    @property
    def failures(self) -> dict[str, int]:
        """Series that were not fitted, by reason; the baseline stands in for them."""
        counts = np.bincount(self.learned["status"], minlength=len(STATUS))
        return {name: int(counts[n]) for n, name in enumerate(STATUS) if n and counts[n]}

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """The filter's means; the baseline's where a series has no parameters."""
        means = self.filtered(panel, horizon)
        gone = diverged(panel, means)
        if gone.any():
            means[gone] = Mean28().forecast(panel.take(gone), horizon)
        return impute(means)

    def methods(self, panel: Panel) -> list[str]:
        """Its name, or the baseline's for series that fall back."""
        gone = diverged(panel, self.filtered(panel, 1))
        return [Mean28.kind if each else self.name for each in gone]

    def filtered(self, panel: Panel, horizon: int) -> Doubles:
        """Means as the filter gives them; nan where a series has no parameters."""
        from batch_predictions.models.demand.forecasters.sarima_kernels import forecast_rows

        y, first, last, logged = self._prepared(panel)
        means = np.empty((len(panel), horizon))
        # A series that ended before the panel is forecast from its own end.
        late = panel.columns - last
        wide = np.empty((len(panel), horizon + int(late.max(initial=0))))
        order, params = self.order(panel.period), self.learned["parameters"]
        forecast_rows(y, first, last, order, params, self.rows(panel), wide)
        means = np.take_along_axis(wide, late[:, None] + np.arange(horizon), axis=1)
        if logged.any():
            with np.errstate(over="ignore"):
                means[logged] = np.exp(means[logged])
        return means + self._explained(panel, horizon)[:, panel.columns :]

    def _effects(self, panel: Panel) -> dict[str, Doubles]:
        """Coefficients of what is known ahead, beside weekdays and a trend that are dropped."""
        if not self.params.get("regression"):
            return {}
        model = LinearPromotions().fit(panel)
        self.params["covariates"] = names = model.params["covariates"]
        whole = model.learned["coefficients"]
        return {"effects": whole[:, whole.shape[1] - len(names) - 1 :]}

    def _explained(self, panel: Panel, horizon: int) -> Doubles:
        """What holidays and covariates add, (n, t + horizon), as fitted; 0 for strangers."""
        found = np.zeros((len(panel), panel.columns + horizon))
        if "effects" not in self.learned:
            return found
        rows = self.rows(panel)
        effects = np.where(rows[:, None] >= 0, self.learned["effects"][rows], 0.0)
        found += effects[:, :1] * panel.flags(horizon)
        for place, name in enumerate(self.params["covariates"], start=1):
            if name in panel.future_covariates:
                found += effects[:, place, None] * np.nan_to_num(panel.known(name, horizon))
        return found

    def _prepared(self, panel: Panel) -> tuple[Doubles, Integers, Integers, npt.NDArray[np.bool_]]:
        """Values, the span of each series, and which were made logarithms."""
        y = np.ascontiguousarray(panel.y - self._explained(panel, 0), float)
        there = np.isfinite(y)
        first = np.where(there.any(axis=1), there.argmax(axis=1), 0)
        last = np.where(there.any(axis=1), y.shape[1] - there[:, ::-1].argmax(axis=1), 0)
        logged = np.zeros(len(panel), bool)
        if self.params.get("log"):
            logged = np.asarray((~there | (y > 0)).all(axis=1), bool)
            y = y.copy()
            y[logged] = np.log(y[logged])
        return y, first, last, logged


def diverged(panel: Panel, means: Doubles) -> npt.NDArray[np.bool_]:
    """Series whose forecasts are none, or wild."""
    largest = np.nanmax(np.where(np.isfinite(panel.y), panel.y, 0.0), axis=1, initial=0.0)
    far = MAX_FORECAST_RATIO * np.maximum(largest, 1e-9)[:, None]
    return ~(np.isfinite(means) & (np.abs(means) <= far)).all(axis=1)


def _has_gap(y: Doubles, first: Integers, last: Integers) -> npt.NDArray[np.bool_]:
    columns = np.arange(y.shape[1])
    within = (columns >= first[:, None]) & (columns < last[:, None])
    return np.asarray((within & ~np.isfinite(y)).any(axis=1))


def places_to_start(order: npt.NDArray[Any]) -> Doubles:
    """Unconstrained parameters to begin at: two of each first coefficient, (m, k).

    The transformation gives an ar coefficient -x / sqrt(1 + x²), a ma coefficient x / sqrt(1 + x²).
    """
    p, _, q, sp, _, sq, _ = order
    choices: list[tuple[float, ...]] = []
    for size, firsts in (
        (p, (-0.3, -1.2)),
        (q, (-0.3, -1.2)),
        (sp, (-0.2, -1.2)),
        (sq, (-0.4, -1.5)),
    ):
        choices += [firsts if lag == 0 else (0.0,) for lag in range(size)]
    return np.array(list(itertools.product(*choices)), float)
