"""Simple exponential smoothing, compiled. Imports numba: import it only inside functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from batch_predictions.jit import njit_cached

GOLDEN = 0.6180339887498949
LEAST, MOST = 1e-4, 0.9999


@njit_cached
def _smooth(y: Any, alpha: float, out: Any) -> float:
    """Sum of squares at the best first level for alpha; the last level into out[0].

    An error is linear in the first level: a_t - b_t l, with b_t = (1 - alpha)^t.
    """
    level, weight = 0.0, 1.0
    aa, ab, bb = 0.0, 0.0, 0.0
    for t in range(len(y)):
        error = y[t] - level
        aa += error * error
        ab += error * weight
        bb += weight * weight
        level += alpha * error
        weight *= 1.0 - alpha
    start = ab / bb
    out[0] = level + weight * start
    return float(aa - ab * ab / bb)


@njit_cached
def smoothed(y: Any) -> float:
    """The last level of least squares over alpha in [.0001, .9999] and the first level."""
    out, n = np.zeros(1), 20
    best, place = np.inf, 0
    for each in range(n + 1):
        value = _smooth(y, LEAST + (MOST - LEAST) * each / n, out)
        if value < best:
            best, place = value, each
    low = LEAST + (MOST - LEAST) * max(place - 1, 0) / n
    high = LEAST + (MOST - LEAST) * min(place + 1, n) / n
    for _ in range(25):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if _smooth(y, left, out) < _smooth(y, right, out):
            high = right
        else:
            low = left
    _smooth(y, 0.5 * (low + high), out)
    return float(out[0])
