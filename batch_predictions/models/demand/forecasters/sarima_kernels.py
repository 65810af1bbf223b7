"""SARIMA of many series, compiled: fit and forecast. Imports numba: import it only in functions.

An order is the seven integers p, d, q, P, D, Q, s. Parameters are in statsmodels' order and with
its signs: ar, ma, seasonal ar, seasonal ma.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from batch_predictions.jit import njit_cached
from batch_predictions.models.demand.forecasters.arma_kernels import (
    FAR,
    coefficients,
    expand,
    log_likelihood,
    run_filter,
)

FITTED, SHORT, FLAT, FAILED = 0, 1, 2, 3
LARGEST = 30.0
"""Unconstrained parameters are kept within this: a partial autocorrelation of .9994."""


@njit_cached
def differencing(order: Any) -> Any:
    """Coefficients of (1 - B)^d (1 - B^s)^D by lag."""
    d, sd, s = order[1], order[4], order[6]
    found = np.zeros(d + sd * s + 1)
    found[0] = 1.0
    size = 0
    for each in range(d + sd):
        lag = 1 if each < d else s
        size += lag
        for at in range(size, lag - 1, -1):
            found[at] -= found[at - lag]
    return found


@njit_cached
def differenced(y: Any, delta: Any, w: Any) -> None:
    """w[t] = sum of delta[j] y[t + lags - j]."""
    lags = len(delta) - 1
    for t in range(len(w)):
        total = 0.0
        for j in range(lags + 1):
            if delta[j] != 0.0:
                total += delta[j] * y[t + lags - j]
        w[t] = total


@njit_cached
def dimension(order: Any) -> int:
    """Of the state."""
    p, q, sp, sq, s = order[0], order[2], order[3], order[5], order[6]
    return int(max(p + sp * s, q + sq * s + 1))


@njit_cached
def _conditional(w: Any, phi: Any, theta: Any, lags: int, errors: Any) -> float:
    """Half the logarithm of the conditional sum of squares."""
    r, n = len(phi), len(w)
    ar, ma = np.empty(r, np.int64), np.empty(r, np.int64)
    n_ar, n_ma = 0, 0
    for i in range(r):
        if phi[i] != 0.0:
            ar[n_ar] = i + 1
            n_ar += 1
        if i > 0 and theta[i] != 0.0:
            ma[n_ma] = i
            n_ma += 1
    total = 0.0
    for t in range(n):
        if t < lags:
            errors[t] = 0.0
            continue
        value = w[t]
        for k in range(n_ar):
            value -= phi[ar[k] - 1] * w[t - ar[k]]
        for k in range(n_ma):
            if t >= ma[k]:
                value -= theta[ma[k]] * errors[t - ma[k]]
        errors[t] = value
        total += value * value
    if not total < FAR:
        return FAR
    return float(0.5 * np.log(total / max(n - lags, 1) + 1e-300))


@njit_cached
def _objective(
    x: Any, order: Any, w: Any, exact: bool, params: Any, rows: Any, errors: Any, out: Any
) -> float:
    """Negative log-likelihood per value, exact or conditional."""
    phi, theta = rows[0], rows[1]
    coefficients(order, x, params)
    expand(order, params, phi, theta)
    lags = order[0] + order[3] * order[6]
    if not exact:
        return _conditional(w, phi, theta, lags, errors)
    if not run_filter(w, phi, theta, lags, rows[2], rows[3], rows[4], out):
        return FAR
    value = -log_likelihood(out[0], out[1], len(w)) / len(w)
    return value if value == value else FAR


@njit_cached
def _minimise(
    x: Any,
    order: Any,
    w: Any,
    exact: bool,
    rounds: int,
    params: Any,
    rows: Any,
    errors: Any,
    out: Any,
) -> float:
    """BFGS with differences for gradients; x becomes the place of the minimum."""
    k = len(x)
    step = 1e-6
    gradient, direction = np.zeros(k), np.zeros(k)
    trial, following = np.empty(k), np.empty(k)
    inverse = np.eye(k)
    value = _objective(x, order, w, exact, params, rows, errors, out)
    for i in range(k):
        trial[:] = x
        trial[i] += step
        here = _objective(trial, order, w, exact, params, rows, errors, out)
        gradient[i] = (here - value) / step
    small = 0
    for turn in range(rounds):
        slope, longest = 0.0, 0.0
        for i in range(k):
            direction[i] = 0.0
            for j in range(k):
                direction[i] -= inverse[i, j] * gradient[j]
            slope += direction[i] * gradient[i]
            longest = max(longest, abs(direction[i]))
        if not slope < 0.0:
            inverse[:] = np.eye(k)
            slope, longest = 0.0, 0.0
            for i in range(k):
                direction[i] = -gradient[i]
                slope -= gradient[i] ** 2
                longest = max(longest, abs(gradient[i]))
            if not slope < 0.0:
                break
        size = min(1.0, 1.0 / longest)
        found, best = False, value
        for _ in range(20):
            for i in range(k):
                trial[i] = min(max(x[i] + size * direction[i], -LARGEST), LARGEST)
            best = _objective(trial, order, w, exact, params, rows, errors, out)
            if best <= value + 1e-4 * size * slope:
                found = True
                break
            size *= 0.35
        if not found:
            break
        gain = value - best
        # Values that move the likelihood by less than 1e-5 are not worth their time.
        small = small + 1 if gain * len(w) < 1e-5 else 0
        for i in range(k):
            kept = trial[i]
            trial[i] += step
            here = _objective(trial, order, w, exact, params, rows, errors, out)
            trial[i] = kept
            following[i] = (here - best) / step
        # BFGS's update of the inverse Hessian.
        sy, yhy = 0.0, 0.0
        moved, turned, hy = np.empty(k), np.empty(k), np.zeros(k)
        steep = 0.0
        for i in range(k):
            moved[i], turned[i] = trial[i] - x[i], following[i] - gradient[i]
            sy += moved[i] * turned[i]
            steep = max(steep, abs(following[i]))
        if sy > 1e-12:
            if turn == 0:
                total = 0.0
                for i in range(k):
                    total += turned[i] ** 2
                for i in range(k):
                    inverse[i, i] = sy / total
            for i in range(k):
                for j in range(k):
                    hy[i] += inverse[i, j] * turned[j]
                yhy += turned[i] * hy[i]
            for i in range(k):
                for j in range(k):
                    inverse[i, j] += (1.0 + yhy / sy) * moved[i] * moved[j] / sy - (
                        hy[i] * moved[j] + moved[i] * hy[j]
                    ) / sy
            for i in range(k):
                hy[i] = 0.0
        value = best
        for i in range(k):
            x[i], gradient[i] = trial[i], following[i]
        if small >= 1 or steep < 1e-6:
            break
    return float(value)


@njit_cached
def fit_rows(
    y: Any, first: Any, last: Any, order: Any, starts: Any, tries: int, params: Any, facts: Any
) -> None:
    """Maximum likelihood of each row between `first` and `last`.

    `starts` (m, k) holds unconstrained places to begin; the `tries` best of them by conditional
    sum of squares are followed. `params` (n, k) gets natural parameters, `facts` (n, 3) the
    log-likelihood, the scale and the status.
    """
    k, r, delta = starts.shape[1], dimension(order), differencing(order)
    rows, out, natural = np.zeros((5, r)), np.zeros(3), np.zeros(k)
    lags = len(delta) - 1
    buffer, errors = np.empty(y.shape[1]), np.empty(y.shape[1])
    values, x, best_x = np.empty(len(starts)), np.empty(k), np.empty(k)
    for row in range(len(y)):
        n = last[row] - first[row] - lags
        params[row, :], facts[row, 0], facts[row, 1] = np.nan, np.nan, np.nan
        # A season and a few values for each parameter.
        if n < 2 * order[6] or n < 4 * k + 2:
            facts[row, 2] = SHORT
            continue
        w = buffer[:n]
        differenced(y[row, first[row] : last[row]], delta, w)
        spread = 0.0
        for t in range(n):
            spread += w[t] * w[t]
        if not spread > 1e-12 * n:
            facts[row, 2] = FLAT
            continue
        for each in range(len(starts)):
            values[each] = _objective(starts[each], order, w, False, natural, rows, errors, out)
        best = FAR
        for _ in range(tries):
            place = np.argmin(values)
            if values[place] >= FAR:
                break
            values[place] = FAR
            x[:] = starts[place]
            _minimise(x, order, w, False, 15, natural, rows, errors, out)
            for i in range(k):
                x[i] = min(max(x[i], -4.0), 4.0)
            found = _minimise(x, order, w, True, 60, natural, rows, errors, out)
            if found < best:
                best = found
                best_x[:] = x
        if not best < FAR:
            facts[row, 2] = FAILED
            continue
        _objective(best_x, order, w, True, natural, rows, errors, out)
        params[row] = natural
        facts[row, 0], facts[row, 1], facts[row, 2] = -best * n, out[0] / n, FITTED


@njit_cached
def likelihood_rows(y: Any, first: Any, last: Any, order: Any, params: Any, facts: Any) -> None:
    """Log-likelihood, scale and steps to the steady state at given parameters, (n, 3)."""
    r, delta = dimension(order), differencing(order)
    rows, out, buffer = np.zeros((5, r)), np.zeros(3), np.empty(y.shape[1])
    lags = order[0] + order[3] * order[6]
    for row in range(len(y)):
        n = last[row] - first[row] - len(delta) + 1
        w = buffer[:n]
        differenced(y[row, first[row] : last[row]], delta, w)
        expand(order, params[row], rows[0], rows[1])
        facts[row, :] = np.nan
        if run_filter(w, rows[0], rows[1], lags, rows[2], rows[3], rows[4], out):
            facts[row, 0] = log_likelihood(out[0], out[1], n)
            facts[row, 1], facts[row, 2] = out[0] / n, out[2]


@njit_cached
def forecast_rows(
    y: Any, first: Any, last: Any, order: Any, params: Any, places: Any, means: Any
) -> None:
    """Filters each row with the parameters at its place and forecasts; nan where there are none.

    `means` (n, horizon) gets the forecasts of the columns after `last`.
    """
    r, delta = dimension(order), differencing(order)
    rows, out, buffer = np.zeros((5, r)), np.zeros(3), np.empty(y.shape[1])
    lags, back, horizon = order[0] + order[3] * order[6], len(delta) - 1, means.shape[1]
    phi, state = rows[0], rows[2]
    for row in range(len(y)):
        means[row, :] = np.nan
        n = last[row] - first[row] - back
        if places[row] < 0 or n < 1 or np.isnan(params[places[row]]).any():
            continue
        w, mine = buffer[:n], y[row, first[row] : last[row]]
        differenced(mine, delta, w)
        expand(order, params[places[row]], phi, rows[1])
        if not run_filter(w, phi, rows[1], lags, state, rows[3], rows[4], out):
            continue
        for step in range(horizon):
            value, head = state[0], state[0]
            for j in range(1, back + 1):
                if delta[j] != 0.0:
                    past = means[row, step - j] if j <= step else mine[len(mine) + step - j]
                    value -= delta[j] * past
            means[row, step] = value
            for i in range(r - 1):
                state[i] = state[i + 1] + phi[i] * head
            state[r - 1] = phi[r - 1] * head
