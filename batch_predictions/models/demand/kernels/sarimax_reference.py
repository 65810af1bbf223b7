"""SARIMA by statsmodels' SARIMAX, one series after the other: the reference of the compiled loops.

The functions have the arguments and results of `kernels.sarima_kernels`. Fits start where SARIMAX
starts, so that for orders with several maxima they may end in another one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from batch_predictions.core.arrays import Doubles, Int64s
from batch_predictions.models.demand.kernels.sarima_kernels import (
    FAILED,
    FITTED,
    FLAT,
    TOO_SHORT,
    differencing_polynomial,
)


def fit_rows(
    y: Doubles,
    first: Int64s,
    end: Int64s,
    order: Int64s,
    starts: Doubles,
    tries: int,
    params: Doubles,
    statistics: Doubles,
) -> None:
    """Fits SARIMA to each row; see `sarima_kernels.fit_rows`. `tries` is not used."""
    params[:], statistics[:, :2] = np.nan, np.nan
    for row, series in _series(y, first, end):
        w = np.convolve(series, differencing_polynomial(order), "valid") if len(series) else series
        if len(w) < max(2 * order[6], 4 * starts.shape[1] + 2):
            statistics[row, 2] = TOO_SHORT
        elif not (w**2).sum() > 1e-12 * len(w):
            statistics[row, 2] = FLAT
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted = _model(series, order).fit(disp=0, cov_type="none", maxiter=500)
            params[row] = fitted.params
            statistics[row] = fitted.llf, fitted.scale, FITTED
            if not np.isfinite(fitted.params).all():
                statistics[row, 2] = FAILED


def forecast_rows(
    y: Doubles,
    first: Int64s,
    end: Int64s,
    order: Int64s,
    params: Doubles,
    param_rows: Int64s,
    means: Doubles,
) -> None:
    """Forecasts each row from its end on; see `sarima_kernels.forecast_rows`."""
    from scipy.signal import lfilter, lfiltic

    delta = differencing_polynomial(order)
    means[:] = np.nan
    for row, series in _series(y, first, end):
        values = params[param_rows[row]] if param_rows[row] >= 0 else np.full(1, np.nan)
        if len(series) < len(delta) or np.isnan(values).any():
            continue
        model = _model(series, order)
        differences = model.filter(values, cov_type="none").forecast(means.shape[1])
        past = lfiltic([1.0], delta, series[::-1][: len(delta) - 1])
        means[row] = lfilter([1.0], delta, differences, zi=past)[0]


def _series(y: Doubles, first: Int64s, end: Int64s) -> Iterator[tuple[int, Doubles]]:
    """The number and the values of each row."""
    for row in range(len(y)):
        yield row, y[row, first[row] : end[row]]


def _model(series: Doubles, order: Int64s) -> Any:
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    p, d, q, *seasonal, period = order.tolist()
    return SARIMAX(
        series,
        order=(p, d, q),
        seasonal_order=(*seasonal, period if any(seasonal) else 0),
        concentrate_scale=True,
        simple_differencing=True,
    )
