"""Simple exponential smoothing, compiled. Decorating imports numba: import it only in functions."""

from __future__ import annotations

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.core.jit import njit_cached

INVERSE_GOLDEN_RATIO = 0.6180339887498949
MIN_ALPHA, MAX_ALPHA = 1e-4, 0.9999
GRID_STEPS = 20
SEARCH_STEPS = 25
"""Steps of the golden-section search between the neighbours of the best point of the grid."""


@njit_cached
def _smooth(y: Doubles, alpha: float, last_level: Doubles) -> float:
    """Sum of squared errors at the best initial level for alpha; the last level in last_level[0].

    An error is linear in the initial level l: a_t - b_t l, with b_t = (1 - alpha)^t.
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
    initial_level = ab / bb
    last_level[0] = level + weight * initial_level
    return float(aa - ab * ab / bb)


@njit_cached
def smoothed_level(y: Doubles) -> float:
    """The last level; alpha in [.0001, .9999] and the initial level minimise the squared errors."""
    last_level, n = np.zeros(1), GRID_STEPS
    least_loss, best = np.inf, 0
    for step in range(n + 1):
        loss = _smooth(y, MIN_ALPHA + (MAX_ALPHA - MIN_ALPHA) * step / n, last_level)
        if loss < least_loss:
            least_loss, best = loss, step
    low = MIN_ALPHA + (MAX_ALPHA - MIN_ALPHA) * max(best - 1, 0) / n
    high = MIN_ALPHA + (MAX_ALPHA - MIN_ALPHA) * min(best + 1, n) / n
    for _ in range(SEARCH_STEPS):
        lower = high - INVERSE_GOLDEN_RATIO * (high - low)
        upper = low + INVERSE_GOLDEN_RATIO * (high - low)
        if _smooth(y, lower, last_level) < _smooth(y, upper, last_level):
            high = upper
        else:
            low = lower
    _smooth(y, 0.5 * (low + high), last_level)
    return float(last_level[0])
