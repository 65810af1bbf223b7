"""Exact Gaussian likelihood of ARMA models. Decorating imports numba: import it only in functions.

`phi[i]` is the AR coefficient of lag i + 1, `theta[j]` the MA coefficient of lag j, theta[0] = 1.
Both have the length r, the dimension of Harvey's state vector. With the stationary distribution as
the start, the covariance of the predicted state changes by a matrix of rank one in every step
(Chandrasekhar recursions: Morf, Sidhu and Kailath 1974), so that a step costs O(r) instead of O(r²)
or O(r³).
"""

from __future__ import annotations

import numpy as np

from batch_predictions.core.arrays import Doubles, Int64s
from batch_predictions.core.jit import njit_cached

STEADY_TOLERANCE = 1e-14
"""The covariance is steady when no element changes by more than this share of the variance."""
INVALID = 1e300
"""Objective of parameters without a likelihood."""


@njit_cached
def constrain(x: Doubles, out: Doubles) -> None:
    """Coefficients of a stationary polynomial from unconstrained numbers.

    Monahan (1984), with the partial autocorrelations x / sqrt(1 + x²) as in statsmodels.
    """
    n = len(x)
    work = np.zeros((n, n))
    for k in range(n):
        partial = x[k] / np.sqrt(1.0 + x[k] * x[k])
        for i in range(k):
            work[k, i] = work[k - 1, i] + partial * work[k - 1, k - i - 1]
        work[k, k] = partial
    for i in range(n):
        out[i] = -work[n - 1, i]


@njit_cached
def constrain_parameters(order: Int64s, x: Doubles, out: Doubles) -> None:
    """Maps unconstrained parameters to AR, MA, seasonal AR and seasonal MA coefficients.

    Args:
        order: p, d, q, P, D, Q, s.
        x: unconstrained parameters, (p + q + P + Q,).
        out: receives the coefficients in that order.
    """
    p, q, sp, sq = order[0], order[2], order[3], order[5]
    start = 0
    for size, sign in ((p, 1.0), (q, -1.0), (sp, 1.0), (sq, -1.0)):
        if size > 0:
            constrain(x[start : start + size], out[start : start + size])
            for i in range(start, start + size):
                out[i] *= sign
            start += size


@njit_cached
def expand(order: Int64s, params: Doubles, phi: Doubles, theta: Doubles) -> None:
    """Multiplies the plain and seasonal polynomials, into `phi` and `theta`.

    Args:
        order: p, d, q, P, D, Q, s.
        params: AR, MA, seasonal AR and seasonal MA coefficients, (p + q + P + Q,).
        phi: receives the AR coefficients of lags 1 to r, (r,).
        theta: receives the MA coefficients of lags 0 to r - 1, (r,); the first is 1.
    """
    p, q, sp, sq, s = order[0], order[2], order[3], order[5], order[6]
    ar, ma = params[:p], params[p : p + q]
    sar, sma = params[p + q : p + q + sp], params[p + q + sp :]
    phi[:], theta[:] = 0.0, 0.0
    theta[0] = 1.0
    for i in range(p):
        phi[i] += ar[i]
    for j in range(sp):
        phi[(j + 1) * s - 1] += sar[j]
        for i in range(p):
            phi[(j + 1) * s + i] -= ar[i] * sar[j]
    for i in range(q):
        theta[i + 1] += ma[i]
    for j in range(sq):
        theta[(j + 1) * s] += sma[j]
        for i in range(q):
            theta[(j + 1) * s + i + 1] += ma[i] * sma[j]


@njit_cached
def _solve(a: Doubles, b: Doubles) -> bool:
    """Solves a x = b into b by elimination with pivoting; False where a is singular."""
    n = len(b)
    for k in range(n):
        pivot = k
        for i in range(k + 1, n):
            if abs(a[i, k]) > abs(a[pivot, k]):
                pivot = i
        if abs(a[pivot, k]) < 1e-13:
            return False
        if pivot != k:
            for j in range(k, n):
                a[k, j], a[pivot, j] = a[pivot, j], a[k, j]
            b[k], b[pivot] = b[pivot], b[k]
        for i in range(k + 1, n):
            if a[i, k] != 0.0:
                factor = a[i, k] / a[k, k]
                for j in range(k, n):
                    a[i, j] -= factor * a[k, j]
                b[i] -= factor * b[k]
    for k in range(n - 1, -1, -1):
        total = b[k]
        for j in range(k + 1, n):
            total -= a[k, j] * b[j]
        b[k] = total / a[k, k]
    return True


@njit_cached
def stationary(phi: Doubles, theta: Doubles, lags: int, gain: Doubles) -> float:
    """Computes the variance of a value at scale 1, and its covariance with the next state.

    The result is negative where there is no stationary distribution.

    Args:
        phi: AR coefficients of lags 1 to r, (r,).
        theta: MA coefficients of lags 0 to r - 1, (r,).
        lags: highest lag of phi that may differ from 0.
        gain: receives the covariance, (r,).
    """
    r = len(phi)
    psi, right = np.zeros(r), np.zeros(max(r, lags + 1))
    for k in range(r):
        total = theta[k]
        for i in range(min(k, lags)):
            total += phi[i] * psi[k - i - 1]
        psi[k] = total
    for k in range(r):
        total = 0.0
        for j in range(k, r):
            if theta[j] != 0.0:
                total += theta[j] * psi[j - k]
        right[k] = total
    gamma = np.zeros(max(r, lags + 1))
    if lags > 0:
        a, b = np.zeros((lags + 1, lags + 1)), right[: lags + 1].copy()
        for k in range(lags + 1):
            a[k, k] += 1.0
            for i in range(1, lags + 1):
                a[k, abs(k - i)] -= phi[i - 1]
        if not _solve(a, b):
            return -1.0
        gamma[: lags + 1] = b
        for k in range(lags + 1, r):
            total = right[k]
            for i in range(lags):
                total += phi[i] * gamma[k - i - 1]
            gamma[k] = total
    else:
        gamma[:] = right
    for i in range(r):
        total = 0.0
        for j in range(i, r):
            if phi[j] != 0.0:
                total += phi[j] * gamma[j - i]
            if j > i and theta[j] != 0.0:
                total += theta[j] * psi[j - i - 1]
        gain[i] = total
    return float(gamma[0])


@njit_cached
def run_filter(
    w: Doubles,
    phi: Doubles,
    theta: Doubles,
    lags: int,
    state: Doubles,
    gain: Doubles,
    change: Doubles,
    out: Doubles,
) -> bool:
    """Runs the Kalman filter over w.

    `state` ends as the prediction of the value after the last one. `change` is the vector of the
    covariance's rank-one change. `out` receives the sum of squared scaled errors, the sum of the
    log variances, and the number of steps until the covariance was steady. False where the
    parameters have no stationary distribution.
    """
    r, n = len(phi), len(w)
    variance = stationary(phi, theta, lags, gain)
    if not variance > 0.0:
        return False
    factor = -1.0 / variance
    for i in range(r):
        change[i], state[i] = gain[i], 0.0
    squares, logs, product = 0.0, 0.0, 1.0
    is_steady, steps_to_steady = False, n
    for t in range(n):
        error = w[t] - state[0]
        scaled = error / variance
        squares += error * scaled
        # One logarithm for many variances: of their product, before it overflows.
        product *= variance
        if product > 1e100 or product < 1e-100:
            logs += np.log(product)
            product = 1.0
        first = state[0]
        for i in range(r - 1):
            state[i] = state[i + 1] + phi[i] * first + gain[i] * scaled
        state[r - 1] = phi[r - 1] * first + gain[r - 1] * scaled
        if not is_steady:
            head = change[0]
            part = factor * head
            new_variance = variance + head * part
            if not new_variance > 0.0:
                return False
            factor += part * part / variance
            ratio = head / new_variance
            for i in range(r - 1):
                shifted = change[i + 1] + phi[i] * head
                gain[i] += shifted * part
                change[i] = shifted - gain[i] * ratio
            shifted = phi[r - 1] * head
            gain[r - 1] += shifted * part
            change[r - 1] = shifted - gain[r - 1] * ratio
            variance = new_variance
            if t % 8 == 7:
                # The covariance changes by factor × change × change', whose largest element is
                # on the diagonal.
                largest = 0.0
                for i in range(r):
                    largest = max(largest, change[i] * change[i])
                if -factor * largest < STEADY_TOLERANCE * variance:
                    is_steady, steps_to_steady = True, t + 1
    out[0], out[1], out[2] = squares, logs + np.log(product), steps_to_steady
    return True


@njit_cached
def log_likelihood(squares: float, logs: float, n: int) -> float:
    """Log-likelihood of n values with the scale concentrated out, from the filter's sums.

    Args:
        squares: sum of squared scaled errors.
        logs: sum of the logarithms of the errors' variances at scale 1.
        n: number of values.
    """
    scale = squares / n
    if not scale > 0.0:
        return -INVALID
    return float(-0.5 * (n * np.log(2.0 * np.pi * scale) + logs + n))
