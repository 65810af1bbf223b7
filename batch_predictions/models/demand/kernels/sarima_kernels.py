"""SARIMA of many series: fit and forecast. Decorating imports numba: import it only in functions.

An order is the seven integers p, d, q, P, D, Q, s. Parameters have statsmodels' order and signs:
AR, MA, seasonal AR, seasonal MA. `work` is a matrix (5, r) of scratch vectors: phi, theta and the
state, gain and covariance change of the filter.
"""

from __future__ import annotations

import numpy as np

from batch_predictions.core.arrays import Doubles, Int64s
from batch_predictions.core.jit import njit_cached
from batch_predictions.models.demand.kernels.arma import (
    INVALID,
    constrain_parameters,
    expand,
    log_likelihood,
    run_filter,
)

FITTED, TOO_SHORT, FLAT, FAILED = 0, 1, 2, 3
MAX_UNCONSTRAINED = 30.0
"""Bound of unconstrained parameters: a partial autocorrelation of .9994."""
MAX_START = 4.0
"""Bound of unconstrained parameters from which the exact likelihood is optimised."""
GRADIENT_STEP = 1e-6
MIN_GAIN = 1e-5
"""The optimiser stops when a step improves the log-likelihood by less."""
MIN_SLOPE = 1e-6
"""The optimiser stops when no element of the gradient is larger."""
CONDITIONAL_STEPS, EXACT_STEPS = 15, 60
"""Steps of the optimiser on the conditional sum of squares and on the exact likelihood."""


@njit_cached
def differencing_polynomial(order: Int64s) -> Doubles:
    """Coefficients of (1 - B)^d (1 - B^s)^D by lag."""
    d, sd, s = order[1], order[4], order[6]
    polynomial = np.zeros(d + sd * s + 1)
    polynomial[0] = 1.0
    degree = 0
    for factor in range(d + sd):
        lag = 1 if factor < d else s
        degree += lag
        for k in range(degree, lag - 1, -1):
            polynomial[k] -= polynomial[k - lag]
    return polynomial


@njit_cached
def difference(y: Doubles, delta: Doubles, w: Doubles) -> None:
    """Differences a series: w[t] = sum of delta[j] y[t + lags - j] over the polynomial's lags j.

    Args:
        y: values, (t,).
        delta: coefficients of the differencing polynomial, (lags + 1,).
        w: receives the differences, (t - lags,).
    """
    lags = len(delta) - 1
    for t in range(len(w)):
        total = 0.0
        for j in range(lags + 1):
            if delta[j] != 0.0:
                total += delta[j] * y[t + lags - j]
        w[t] = total


@njit_cached
def state_dimension(order: Int64s) -> int:
    """Dimension r of the state vector of an ARMA model's Kalman filter."""
    p, q, sp, sq, s = order[0], order[2], order[3], order[5], order[6]
    return int(max(p + sp * s, q + sq * s + 1))


@njit_cached
def _conditional_objective(
    w: Doubles, phi: Doubles, theta: Doubles, lags: int, errors: Doubles
) -> float:
    """Half the logarithm of the mean squared error, given the first `lags` values of w."""
    r, n = len(phi), len(w)
    ar_lags, ma_lags = np.empty(r, np.int64), np.empty(r, np.int64)
    n_ar, n_ma = 0, 0
    for i in range(r):
        if phi[i] != 0.0:
            ar_lags[n_ar] = i + 1
            n_ar += 1
        if i > 0 and theta[i] != 0.0:
            ma_lags[n_ma] = i
            n_ma += 1
    squares = 0.0
    for t in range(n):
        if t < lags:
            errors[t] = 0.0
            continue
        error = w[t]
        for k in range(n_ar):
            error -= phi[ar_lags[k] - 1] * w[t - ar_lags[k]]
        for k in range(n_ma):
            if t >= ma_lags[k]:
                error -= theta[ma_lags[k]] * errors[t - ma_lags[k]]
        errors[t] = error
        squares += error * error
    if not squares < INVALID:
        return INVALID
    return float(0.5 * np.log(squares / max(n - lags, 1) + 1e-300))


@njit_cached
def _objective(
    x: Doubles,
    order: Int64s,
    w: Doubles,
    is_exact: bool,
    params: Doubles,
    work: Doubles,
    errors: Doubles,
    out: Doubles,
) -> float:
    """Negative log-likelihood per value, exact or conditional; `params` receives the parameters."""
    phi, theta = work[0], work[1]
    constrain_parameters(order, x, params)
    expand(order, params, phi, theta)
    lags = order[0] + order[3] * order[6]
    if not is_exact:
        return _conditional_objective(w, phi, theta, lags, errors)
    if not run_filter(w, phi, theta, lags, work[2], work[3], work[4], out):
        return INVALID
    value = -log_likelihood(out[0], out[1], len(w)) / len(w)
    return value if value == value else INVALID


@njit_cached
def _update_inverse_hessian(
    inverse: Doubles, moved: Doubles, turned: Doubles, is_first: bool
) -> None:
    """BFGS update after x moved by `moved` and the gradient turned by `turned`."""
    k = len(moved)
    sy, yhy = 0.0, 0.0
    for i in range(k):
        sy += moved[i] * turned[i]
    if not sy > 1e-12:
        return
    if is_first:
        total = 0.0
        for i in range(k):
            total += turned[i] ** 2
        for i in range(k):
            inverse[i, i] = sy / total
    hy = np.zeros(k)
    for i in range(k):
        for j in range(k):
            hy[i] += inverse[i, j] * turned[j]
        yhy += turned[i] * hy[i]
    for i in range(k):
        for j in range(k):
            inverse[i, j] += (1.0 + yhy / sy) * moved[i] * moved[j] / sy - (
                hy[i] * moved[j] + moved[i] * hy[j]
            ) / sy


@njit_cached
def _minimise(
    x: Doubles,
    order: Int64s,
    w: Doubles,
    is_exact: bool,
    max_steps: int,
    params: Doubles,
    work: Doubles,
    errors: Doubles,
    out: Doubles,
) -> float:
    """Minimises the objective by BFGS with numerical gradients; x becomes the minimum."""
    k = len(x)
    gradient, direction = np.zeros(k), np.zeros(k)
    trial, new_gradient = np.empty(k), np.empty(k)
    moved, turned = np.empty(k), np.empty(k)
    inverse = np.eye(k)
    value = _objective(x, order, w, is_exact, params, work, errors, out)
    for i in range(k):
        trial[:] = x
        trial[i] += GRADIENT_STEP
        neighbour = _objective(trial, order, w, is_exact, params, work, errors, out)
        gradient[i] = (neighbour - value) / GRADIENT_STEP
    for step in range(max_steps):
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
        is_found, new_value = False, value
        for _ in range(20):
            for i in range(k):
                new_x = x[i] + size * direction[i]
                trial[i] = min(max(new_x, -MAX_UNCONSTRAINED), MAX_UNCONSTRAINED)
            new_value = _objective(trial, order, w, is_exact, params, work, errors, out)
            if new_value <= value + 1e-4 * size * slope:
                is_found = True
                break
            size *= 0.35
        if not is_found:
            break
        gain = value - new_value
        for i in range(k):
            centre = trial[i]
            trial[i] += GRADIENT_STEP
            neighbour = _objective(trial, order, w, is_exact, params, work, errors, out)
            trial[i] = centre
            new_gradient[i] = (neighbour - new_value) / GRADIENT_STEP
        steepest = 0.0
        for i in range(k):
            moved[i], turned[i] = trial[i] - x[i], new_gradient[i] - gradient[i]
            steepest = max(steepest, abs(new_gradient[i]))
        _update_inverse_hessian(inverse, moved, turned, step == 0)
        value = new_value
        for i in range(k):
            x[i], gradient[i] = trial[i], new_gradient[i]
        if gain * len(w) < MIN_GAIN or steepest < MIN_SLOPE:
            break
    return float(value)


@njit_cached
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
    """Fits SARIMA by maximum likelihood to each row of y between its columns `first` and `end`.

    Args:
        y: values, (n, t).
        first: first column of each row's values, (n,).
        end: column after the last of each row's values, (n,).
        order: p, d, q, P, D, Q, s.
        starts: unconstrained starting points, (m, k).
        tries: starting points that are optimised, the best ones by conditional sum of squares.
        params: receives the parameters, (n, k).
        statistics: receives log-likelihood, scale and status, (n, 3).
    """
    k, r, delta = starts.shape[1], state_dimension(order), differencing_polynomial(order)
    work, out, natural = np.zeros((5, r)), np.zeros(3), np.zeros(k)
    lags = len(delta) - 1
    buffer, errors = np.empty(y.shape[1]), np.empty(y.shape[1])
    values, x, best_x = np.empty(len(starts)), np.empty(k), np.empty(k)
    for row in range(len(y)):
        n = end[row] - first[row] - lags
        params[row, :], statistics[row, 0], statistics[row, 1] = np.nan, np.nan, np.nan
        # Two seasons, and a few values for each parameter, are the least to learn from.
        if n < 2 * order[6] or n < 4 * k + 2:
            statistics[row, 2] = TOO_SHORT
            continue
        w = buffer[:n]
        difference(y[row, first[row] : end[row]], delta, w)
        squares = 0.0
        for t in range(n):
            squares += w[t] * w[t]
        if not squares > 1e-12 * n:
            statistics[row, 2] = FLAT
            continue
        for start in range(len(starts)):
            values[start] = _objective(starts[start], order, w, False, natural, work, errors, out)
        best = INVALID
        for _ in range(tries):
            start = int(np.argmin(values))
            if values[start] >= INVALID:
                break
            values[start] = INVALID
            x[:] = starts[start]
            _minimise(x, order, w, False, CONDITIONAL_STEPS, natural, work, errors, out)
            for i in range(k):
                x[i] = min(max(x[i], -MAX_START), MAX_START)
            value = _minimise(x, order, w, True, EXACT_STEPS, natural, work, errors, out)
            if value < best:
                best = value
                best_x[:] = x
        if not best < INVALID:
            statistics[row, 2] = FAILED
            continue
        _objective(best_x, order, w, True, natural, work, errors, out)
        params[row] = natural
        statistics[row, 0] = -best * n
        statistics[row, 1], statistics[row, 2] = out[0] / n, FITTED


@njit_cached
def likelihood_rows(
    y: Doubles, first: Int64s, end: Int64s, order: Int64s, params: Doubles, statistics: Doubles
) -> None:
    """Computes log-likelihood, scale and steps to the steady state at given parameters.

    Args:
        y: values, (n, t).
        first: first column of each row's values, (n,).
        end: column after the last of each row's values, (n,).
        order: p, d, q, P, D, Q, s.
        params: coefficients of each row, (n, k).
        statistics: receives the three figures, (n, 3); nan where the parameters have no stationary
            distribution.
    """
    r, delta = state_dimension(order), differencing_polynomial(order)
    work, out, buffer = np.zeros((5, r)), np.zeros(3), np.empty(y.shape[1])
    lags = order[0] + order[3] * order[6]
    for row in range(len(y)):
        n = end[row] - first[row] - len(delta) + 1
        w = buffer[:n]
        difference(y[row, first[row] : end[row]], delta, w)
        expand(order, params[row], work[0], work[1])
        statistics[row, :] = np.nan
        if run_filter(w, work[0], work[1], lags, work[2], work[3], work[4], out):
            statistics[row, 0] = log_likelihood(out[0], out[1], n)
            statistics[row, 1], statistics[row, 2] = out[0] / n, out[2]


@njit_cached
def forecast_rows(
    y: Doubles,
    first: Int64s,
    end: Int64s,
    order: Int64s,
    params: Doubles,
    param_rows: Int64s,
    means: Doubles,
) -> None:
    """Filters each row of y and forecasts the columns from `end` on, into `means` (n, horizon).

    The means are nan where a series was not fitted or its parameters are nan.

    Args:
        y: values, (n, t).
        first: first column of each row's values, (n,).
        end: column after the last of each row's values, (n,).
        order: p, d, q, P, D, Q, s.
        params: parameters of the fitted series, (m, k).
        param_rows: row of each series in `params`, -1 if it was not fitted, (n,).
        means: receives the forecasts, (n, horizon).
    """
    r, delta = state_dimension(order), differencing_polynomial(order)
    work, out, buffer = np.zeros((5, r)), np.zeros(3), np.empty(y.shape[1])
    ar_lags, delta_lags, horizon = order[0] + order[3] * order[6], len(delta) - 1, means.shape[1]
    phi, state = work[0], work[2]
    for row in range(len(y)):
        means[row, :] = np.nan
        n = end[row] - first[row] - delta_lags
        param_row = param_rows[row]
        if param_row < 0 or n < 1 or np.isnan(params[param_row]).any():
            continue
        w, series = buffer[:n], y[row, first[row] : end[row]]
        difference(series, delta, w)
        expand(order, params[param_row], phi, work[1])
        if not run_filter(w, phi, work[1], ar_lags, state, work[3], work[4], out):
            continue
        for step in range(horizon):
            value, head = state[0], state[0]
            for j in range(1, delta_lags + 1):
                if delta[j] != 0.0:
                    past = means[row, step - j] if j <= step else series[len(series) + step - j]
                    value -= delta[j] * past
            means[row, step] = value
            for i in range(r - 1):
                state[i] = state[i + 1] + phi[i] * head
            state[r - 1] = phi[r - 1] * head
