"""Exponential smoothing (ETS) of each series, fitted by statsmodels.

The models have additive errors, with or without a damped trend and an additive season; AICc chooses
among them. The smoothing parameters of a series are stored with its states after the panel of the
fit. A forecast updates the states with the later values of the panel that it is given.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand.base import ForecasterParams
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.forecasters.per_series_fallback import (
    STATUSES,
    FallbackForecaster,
)

MIN_OBSERVATIONS = 10
LEVEL_SEASONS = 4
"""Seasons whose mean is the initial level."""
TOLERANCES = {"factr": 1e10, "pgtol": 1e-4}
"""Tolerances of the optimiser: statsmodels' own take longer, and forecasts are as good."""


@dataclass(frozen=True)
class EtsParams(ForecasterParams):
    """Parameters of the forecaster `Ets`.

    Attributes:
        trend: whether models with a damped trend are tried; they take most of a fit's time.
    """

    trend: bool = True


class Ets(FallbackForecaster):
    """Exponential smoothing of each series, by maximum likelihood given its initial states."""

    kind: ClassVar[str] = "ets"
    params_class: ClassVar[type[ForecasterParams]] = EtsParams
    params: EtsParams

    def fit(self, panel: Panel) -> Self:
        """Fits every series; `next_time` is the number of the column after the panel."""
        import statsmodels.tsa.exponential_smoothing.ets  # noqa: F401  loads BLAS to be limited
        from threadpoolctl import threadpool_limits

        n, period = len(panel), panel.period
        parameters, states = np.full((n, 4), np.nan), np.full((n, 2 + period), np.nan)
        status = np.full(n, STATUSES.index("failed"))
        # The optimiser's matrices are tiny: threads of BLAS would multiply its CPU time.
        with threadpool_limits(limits=1, user_api="blas"):
            for row, y in enumerate(panel.y):
                observed = np.flatnonzero(np.isfinite(y))
                if len(observed) < MIN_OBSERVATIONS:
                    status[row] = STATUSES.index("too short")
                elif np.ptp(y[observed]) == 0:
                    status[row] = STATUSES.index("flat")
                elif len(observed) == observed[-1] - observed[0] + 1:  # without a gap
                    fitted = fit_series(y[observed], period, self.params.trend)
                    parameters[row], state = fitted
                    missing = y[None, observed[-1] + 1 :]
                    states[row] = smooth(parameters[row, None], state[None], missing)[1][0]
                    if np.isfinite(states[row]).all():
                        status[row] = STATUSES.index("fitted")
        self.fitted_values = {"next_time": panel.start_number + panel.n_columns}
        return self.set_series_table(panel.ids, parameters=parameters, states=states, status=status)

    def filter_means(self, panel: Panel, horizon: int) -> Doubles:
        """Means from the states, updated with the values after the fit; nan where there are none.

        The states know later values than a panel that ends before the fit: it has no means.
        """
        new_columns = panel.start_number + panel.n_columns - self.fitted_values["next_time"]
        if new_columns < 0 or not self.ids:
            return np.full((len(panel), horizon), np.nan)
        y = np.full((len(panel), new_columns + horizon), np.nan)
        known = min(new_columns, panel.n_columns)
        y[:, new_columns - known : new_columns] = panel.y[:, panel.n_columns - known :]
        rows = self.table_rows(panel)
        states = np.where(rows[:, None] >= 0, self.series_table["states"][rows], np.nan)
        return smooth(self.series_table["parameters"][rows], states, y)[0][:, new_columns:]


def fit_series(y: Doubles, period: int, trend: bool = True) -> tuple[Doubles, Doubles]:
    """Fits the model with the smallest AICc to a series without gaps.

    The initial season is that of the whole series, the initial level the mean of its first seasons,
    and the initial trend 0; AICc counts them as parameters. `demand.md` compares this with
    estimated initial states.

    Returns:
        parameters: alpha, beta, gamma, phi; 0 for components that the model does not have, (4,).
        states: level, trend, and the season from the value after the last one on, (2 + period,).
    """
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel
    from statsmodels.tsa.seasonal import seasonal_decompose

    best, least = (np.full(4, np.nan), np.full(2 + period, np.nan)), np.inf
    for has_season in (False, True) if 1 < period <= len(y) // 2 else (False,):
        arguments: dict[str, Any] = {"initialization_method": "known"}
        season = np.zeros(len(y))
        if has_season:
            season = seasonal_decompose(y, period=period).seasonal
            arguments |= {"seasonal": "add", "seasonal_periods": period}
            arguments["initial_seasonal"] = season[:period]
        first = max(LEVEL_SEASONS * period, MIN_OBSERVATIONS)
        arguments["initial_level"] = (y - season)[:first].mean()
        for has_trend in (False, True) if trend else (False,):
            if has_trend:
                arguments |= {"trend": "add", "damped_trend": True, "initial_trend": 0.0}
            # Variance, alpha and level; beta, phi and trend; gamma and a season that sums to 0.
            k = 3 + 3 * has_trend + period * has_season
            if len(y) <= k + 1:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted = ETSModel(y, **arguments).fit(disp=False, **TOLERANCES)
            aicc = 2 * k - 2 * fitted.llf + 2 * k * (k + 1) / (len(y) - k - 1)
            if aicc < least:
                least, best = aicc, _parameters_and_states(fitted, period, has_trend, has_season)
    return best


def _parameters_and_states(
    fitted: Any, period: int, has_trend: bool, has_season: bool
) -> tuple[Doubles, Doubles]:
    """Parameters and last states of statsmodels' result; see `fit_series`."""
    values = dict(zip(fitted.param_names, fitted.params, strict=True))
    names = ("smoothing_level", "smoothing_trend", "smoothing_seasonal", "damping_trend")
    states = np.zeros(2 + period)
    states[: 1 + has_trend] = fitted.states[-1, : 1 + has_trend]
    if has_season:
        states[2:] = fitted.states[-period:, -1]
    return np.array([values.get(name, 0.0) for name in names]), states


def smooth(parameters: Doubles, states: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """Smooths many series at once, from the states before their first column.

    A missing value has no error, so that means of missing columns are those of later steps.

    Returns:
        means: one-step forecasts of all columns, (n, t).
        states: after the last column, as `fit_series` returns them, (n, 2 + period).
    """
    alpha, beta, gamma, phi = parameters.T
    level, trend, season = states[:, 0], states[:, 1], states[:, 2:]
    means = np.empty(y.shape)
    for column, values in enumerate(y.T):
        level, trend, phase = level + phi * trend, phi * trend, season[:, 0]
        means[:, column] = level + phase
        errors = np.where(np.isfinite(values), values - means[:, column], 0.0)
        level, trend = level + alpha * errors, trend + beta * errors
        season = np.c_[season[:, 1:], phase + gamma * errors]
    return means, np.c_[level, trend, season]
