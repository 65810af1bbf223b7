"""Aggregates sentiments of reviews by item: interval, significance of change, true shares."""

from __future__ import annotations

import math
import zlib

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.intervals import wilson_bounds

PERMUTATIONS = 20_000
MIN_REVIEWS_PER_SIDE = 3
"""With fewer reviews in either period no change is tested."""
SHARE_PRIOR_REVIEWS = 5.0
"""Weight of the training data's class shares when shares are corrected, in reviews."""


def wilson_interval(net: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a mean of n values between -1 and 1 (Wilson 1927, on (net + 1) / 2).

    The interval is for values of -1 or 1; values in between vary less, so it is conservative.
    """
    lower, upper = wilson_bounds((net + 1) / 2, n)
    return 2 * lower - 1, 2 * upper - 1


def change_p_value(
    current: Doubles, previous: Doubles, item_id: str, test_below: float
) -> float | None:
    """Two-sided p-value of the difference between the means of two samples.

    Student's t first, but never less than the probability of the rarest permutation; where that
    is below `test_below`, a permutation test, seeded with the item's id.

    Args:
        current, previous: net sentiment of the reviews of each period.
        item_id: seeds the permutations.
        test_below: p-values above this are not refined.

    Returns:
        None where either period has fewer than MIN_REVIEWS_PER_SIDE reviews.
    """
    from scipy.stats import t

    n, m = len(current), len(previous)
    if n < MIN_REVIEWS_PER_SIDE or m < MIN_REVIEWS_PER_SIDE:
        return None
    difference = abs(current.mean() - previous.mean())
    within = ((current - current.mean()) ** 2).sum() + ((previous - previous.mean()) ** 2).sum()
    # Scores are noisy: without a lower bound of the variance, a few equal scores would make any
    # difference significant.
    error = math.sqrt(max(within / (n + m - 2), 0.01) * (1 / n + 1 / m))
    rarest = 1 / math.comb(n + m, n) if n + m < 1000 else 0.0
    approximate = max(float(2 * t.sf(difference / error, n + m - 2)), rarest)
    if approximate > test_below or difference == 0:
        return min(approximate, 1.0)
    hits = _count_extreme_permutations(current, previous, difference, item_id)
    # With fewer than 5 hits the permutation estimate is less precise than the approximation.
    return (hits + 1) / (PERMUTATIONS + 1) if hits >= 5 else approximate


def _count_extreme_permutations(
    current: Doubles, previous: Doubles, difference: float, item_id: str
) -> int:
    """Counts the random regroupings, of PERMUTATIONS, that differ as much as the periods do."""
    pooled = np.concatenate([current, previous])
    random = np.random.default_rng(zlib.crc32(item_id.encode()))
    smaller = min(len(current), len(previous))
    larger = len(pooled) - smaller
    total, chunk = pooled.sum(), max(1, 1_000_000 // len(pooled))
    hits = done = 0
    while done < PERMUTATIONS:
        size = min(chunk, PERMUTATIONS - done)
        keys = random.random((size, len(pooled)))
        sample = np.argpartition(keys, smaller - 1, axis=1)[:, :smaller]
        sample_mean = pooled[sample].mean(axis=1)
        remaining_mean = (total - sample_mean * smaller) / larger
        hits += int((np.abs(sample_mean - remaining_mean) >= difference - 1e-12).sum())
        done += size
    return hits


def corrected_shares(
    means: Doubles, counts: Doubles, confusion: Doubles, prior: Doubles
) -> Doubles:
    """Shares of the true classes that explain mean probabilities, given the model's confusions.

    Expectation maximisation of the mixture (the probabilistic form of adjusted counts, Bella et
    al. 2010). The prior counts as SHARE_PRIOR_REVIEWS reviews, so that an item with few reviews
    stays near the usual shares.

    Args:
        means: mean probabilities of every item, (items, classes).
        counts: reviews of every item, (items,).
        confusion: mean probabilities (columns) of reviews of each true class (rows).
        prior: class shares in the training data, (classes,).

    Returns:
        Shares, (items, classes); rows sum to 1.
    """
    shares = np.tile(prior, (len(means), 1))
    weight = counts[:, np.newaxis]
    for _ in range(100):
        explained = np.maximum(shares @ confusion, 1e-12)
        expected = shares * ((means / explained) @ confusion.T)
        shares = (expected * weight + SHARE_PRIOR_REVIEWS * prior) / (weight + SHARE_PRIOR_REVIEWS)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
