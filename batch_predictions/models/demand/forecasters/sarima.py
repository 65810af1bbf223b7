"""Seasonal ARIMA, fitted to thousands of series of one order at once by compiled loops.

The model is statsmodels' SARIMAX with simple differencing: the exact Gaussian likelihood of the
differenced series with the scale concentrated out. Parameters are stored in a table. A forecast
filters the values of the panel with them, so that daily forecasts refit nothing. The compiled loops
take a hundredth of SARIMAX's time (`benchmarks/sarima.py`), which is the other backend.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Int64s
from batch_predictions.models.demand.base import ForecasterParams, ForecasterVariant
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.forecasters.linear_regression import LinearPromotions
from batch_predictions.models.demand.forecasters.per_series_fallback import (
    STATUSES,
    FallbackForecaster,
)

STARTS_IF_MULTIMODAL = 3
"""Starting points that are optimised by default where the likelihood has several maxima."""


@dataclass(frozen=True)
class SarimaParams(ForecasterParams):
    """Parameters of the forecaster `Sarima`.

    Attributes:
        order: p, d, q, P, D, Q.
        tries: starting points that are optimised, the best ones by conditional sum of squares;
            None: 3 where the order has both AR and MA terms, plain or seasonal, else 1.
        log: whether series with positive values only are modelled on the log scale.
        seasons: seasons from which parameters are learned, the newest ones; None: all.
        regression: whether holidays and covariates are first removed by linear regression.
        sarima_backend: the compiled loops for many series at once, or statsmodels' SARIMAX.
    """

    order: tuple[int, int, int, int, int, int] = (1, 0, 1, 0, 1, 1)
    tries: int | None = None
    log: bool = False
    seasons: int | None = None
    regression: bool = False
    sarima_backend: Literal["batched", "statsmodels"] = "batched"


arima = ForecasterVariant("arima", "sarima", SarimaParams(order=(1, 1, 1, 0, 0, 0)))
sarima_promotions = ForecasterVariant("sarima_promotions", "sarima", SarimaParams(regression=True))


class Sarima(FallbackForecaster):
    """Seasonal ARIMA of each series, by maximum likelihood."""

    kind: ClassVar[str] = "sarima"
    params_class: ClassVar[type[ForecasterParams]] = SarimaParams
    params: SarimaParams

    def order(self, period: int) -> Int64s:
        """Returns the order p, d, q, P, D, Q, s as the compiled loops take it."""
        return np.array([*self.params.order, period], np.int64)

    def _backend(self) -> Any:
        """The module of `fit_rows` and `forecast_rows`."""
        if self.params.sarima_backend == "statsmodels":
            from batch_predictions.models.demand.kernels import sarimax_reference

            return sarimax_reference
        from batch_predictions.models.demand.kernels import sarima_kernels

        return sarima_kernels

    def fit(self, panel: Panel) -> Self:
        """Fits every series; likelihood, scale and status are stored with the parameters."""
        order = self.order(panel.period)
        effects = self._fit_regression(panel)
        self.set_series_table(panel.ids, **effects)
        y, first, end, _ = self._prepare(panel)
        if self.params.seasons:
            first = np.maximum(first, panel.n_columns - self.params.seasons * panel.period)
        parameters = np.empty((len(panel), int(order[[0, 2, 3, 5]].sum())))
        statistics = np.empty((len(panel), 3))
        is_multimodal = (order[0] and order[2]) or (order[3] and order[5])
        tries = self.params.tries or (STARTS_IF_MULTIMODAL if is_multimodal else 1)
        starts = starting_points(order)
        self._backend().fit_rows(y, first, end, order, starts, tries, parameters, statistics)
        is_unusable = (end <= first) | _has_gap(y, first, end)
        parameters[is_unusable], statistics[is_unusable, 2] = np.nan, STATUSES.index("failed")
        return self.set_series_table(
            panel.ids,
            parameters=parameters,
            log_likelihood=statistics[:, 0],
            scale=statistics[:, 1],
            status=statistics[:, 2].astype(np.int64),
            **effects,
        )

    def filter_means(self, panel: Panel, horizon: int) -> Doubles:
        """Means of the Kalman filter, (n, horizon); nan where a series has no parameters."""
        y, first, end, is_log = self._prepare(panel)
        # A series that ended before the panel is forecast from its last observation.
        missing_columns = panel.n_columns - end
        from_end = np.empty((len(panel), horizon + int(missing_columns.max(initial=0))))
        order, parameters = self.order(panel.period), self.series_table["parameters"]
        rows = self.table_rows(panel)
        self._backend().forecast_rows(y, first, end, order, parameters, rows, from_end)
        steps = missing_columns[:, None] + np.arange(horizon)
        means = np.take_along_axis(from_end, steps, axis=1)
        if is_log.any():
            with np.errstate(over="ignore"):
                means[is_log] = np.exp(means[is_log])
        return means + self._regression_part(panel, horizon)[:, panel.n_columns :]

    def _fit_regression(self, panel: Panel) -> dict[str, Doubles]:
        """Coefficients of holidays and covariates; empty without the parameter `regression`.

        They are those of a regression that also has a trend and weekdays.
        """
        if not self.params.regression:
            return {}
        model = LinearPromotions().fit(panel)
        covariates = model.fitted_values["covariates"]
        self.fitted_values = {"covariates": covariates}
        coefficients = model.series_table["coefficients"]
        return {"effects": coefficients[:, coefficients.shape[1] - len(covariates) - 1 :]}

    def _regression_part(self, panel: Panel, horizon: int) -> Doubles:
        """Sums the effects of holidays and covariates, (n, t + horizon); 0 for unfitted series."""
        total = np.zeros((len(panel), panel.n_columns + horizon))
        if "effects" not in self.series_table:
            return total
        rows = self.table_rows(panel)
        effects = np.where(rows[:, None] >= 0, self.series_table["effects"][rows], 0.0)
        total += effects[:, :1] * panel.holiday_flags(horizon)
        for column, name in enumerate(self.fitted_values["covariates"], start=1):
            if name in panel.future_covariates:
                values = np.nan_to_num(panel.covariate(name, horizon))
                total += effects[:, column, None] * values
        return total

    def _prepare(self, panel: Panel) -> tuple[Doubles, Int64s, Int64s, npt.NDArray[np.bool_]]:
        """The values to model.

        Returns:
            y: values without what the regression explains, or their logarithms, (n, t).
            first: column of the first observation of each series, (n,).
            end: column after the last observation, (n,).
            is_log: whether the values are logarithms, (n,).
        """
        y = np.ascontiguousarray(panel.y - self._regression_part(panel, 0), float)
        is_known = np.isfinite(y)
        has_values = is_known.any(axis=1)
        first = np.where(has_values, is_known.argmax(axis=1), 0)
        end = np.where(has_values, y.shape[1] - is_known[:, ::-1].argmax(axis=1), 0)
        is_log = np.zeros(len(panel), bool)
        if self.params.log:
            is_log = np.asarray((~is_known | (y > 0)).all(axis=1), bool)
            y = y.copy()
            y[is_log] = np.log(y[is_log])
        return y, first, end, is_log


def _has_gap(y: Doubles, first: Int64s, end: Int64s) -> npt.NDArray[np.bool_]:
    """Series with a missing value between their first and last observation, (n,)."""
    columns = np.arange(y.shape[1])
    is_inside = (columns >= first[:, None]) & (columns < end[:, None])
    return np.asarray((is_inside & ~np.isfinite(y)).any(axis=1))


def starting_points(order: Int64s) -> Doubles:
    """Unconstrained parameters to start the optimiser from, (points, k).

    All combinations of two values for the first coefficient of each polynomial; the other
    coefficients start at 0. The transformation makes -x / sqrt(1 + x²) of an AR and
    x / sqrt(1 + x²) of an MA parameter x.
    """
    p, _, q, seasonal_p, _, seasonal_q, _ = order
    choices: list[tuple[float, ...]] = []
    for degree, first_values in (
        (p, (-0.3, -1.2)),
        (q, (-0.3, -1.2)),
        (seasonal_p, (-0.2, -1.2)),
        (seasonal_q, (-0.4, -1.5)),
    ):
        choices += [first_values if lag == 0 else (0.0,) for lag in range(degree)]
    return np.array(list(itertools.product(*choices)), float)
