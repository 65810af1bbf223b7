"""From reviews to a product: interval, change with its chance, corrected shares."""

from __future__ import annotations

import math
import zlib

import numpy as np

from batch_predictions.models.common.proportions import wilson_bounds
from batch_predictions.models.common.ranking_metrics import Doubles

SHUFFLES = 20_000
LEAST = 3
"""Reviews on each side without which no change is tested."""
AMBIGUITY_THRESHOLD = 5.0
"""Reviews' worth of belief in the usual shares, where shares are corrected."""


def wilson(net: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a mean of n values in -1 to 1 (Wilson 1927, on (net + 1) / 2).

    Values between the ends vary less than a coin's, so that it is wide rather than narrow.
    """
    lower, upper = wilson_bounds((net + 1) / 2, n)
    return 2 * lower - 1, 2 * upper - 1


def change_chance(now: Doubles, before: Doubles, name: str, interesting: float) -> float | None:
    """Two-sided chance of such a difference of means if all reviews were alike (permutation).

    First by Student's t, never below what the rarest arrangement has; where that is below
    `interesting`, by shuffles seeded with the product's name.

    Returns:
        None where either side has fewer than three reviews.
    """
    from scipy.stats import t

    n, m = len(now), len(before)
    if n < LEAST or m < LEAST:
        return None
    everything = np.concatenate([now, before])
    difference = abs(now.mean() - before.mean())
    inside = ((now - now.mean()) ** 2).sum() + ((before - before.mean()) ** 2).sum()
    # A tenth of a class apart is noise of the model: all equal is no certainty.
    error = math.sqrt(max(inside / (n + m - 2), 0.01) * (1 / n + 1 / m))
    rarest = 1 / math.comb(n + m, n) if n + m < 1000 else 0.0
    rough = max(float(2 * t.sf(difference / error, n + m - 2)), rarest)
    if rough > interesting or difference == 0:
        return min(rough, 1.0)
    random = np.random.default_rng(zlib.crc32(name.encode()))
    hits = done = 0
    few = min(n, m)
    total, step = everything.sum(), max(1, 1_000_000 // (n + m))
    while done < SHUFFLES:
        size = min(step, SHUFFLES - done)
        keys = random.random((size, n + m))
        chosen = np.argpartition(keys, few - 1, axis=1)[:, :few]
        mean = everything[chosen].mean(axis=1)
        other = (total - mean * few) / (n + m - few)
        hits += int((np.abs(mean - other) >= difference - 1e-12).sum())
        done += size
    # So few hits say less than the rough figure does.
    return (hits + 1) / (done + 1) if hits >= 5 else rough


def corrected_shares(
    means: Doubles, counts: Doubles, confusion: Doubles, usual: Doubles
) -> Doubles:
    """Shares of true classes that explain mean probabilities through the model's confusions.

    Expectation maximisation of the mixture (the probabilistic form of adjusted counts, Bella et
    al. 2010), with the usual shares as a prior worth five reviews, so that few reviews say little.

    Args:
        means: mean probabilities of every product, (products, classes).
        counts: reviews of every product, (products,).
        confusion: mean probabilities (columns) of reviews of each true class (rows).
        usual: shares of classes in the training data, (classes,).

    Returns:
        Shares, (products, classes); rows sum to 1.
    """
    shares = np.tile(usual, (len(means), 1))
    weight = counts[:, np.newaxis]
    for _ in range(100):
        explained = np.maximum(shares @ confusion, 1e-12)
        found = shares * ((means / explained) @ confusion.T)
        shares = (found * weight + AMBIGUITY_THRESHOLD * usual) / (weight + AMBIGUITY_THRESHOLD)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
