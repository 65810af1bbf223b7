"""Proportions and their differences, with 95 % intervals that hold for small numbers too."""

from __future__ import annotations

import math

from batch_predictions.models.common.bootstrap import Interval

Z95 = 1.959964
"""Quantile of the normal distribution that 2.5 % lie above."""


def wilson_bounds(share: float, n: int) -> tuple[float, float]:
    """Ends of Wilson's (1927) 95 % interval of a share in 0 to 1 of n > 0 units."""
    centre = (share + Z95 * Z95 / (2 * n)) / (1 + Z95 * Z95 / n)
    half = Z95 / (1 + Z95 * Z95 / n) * math.sqrt(share * (1 - share) / n + Z95 * Z95 / (4 * n * n))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def proportion(hits: int, n: int) -> Interval:
    """hits / n with Wilson's interval; nan where n is 0."""
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    share = hits / n
    return Interval(share, *wilson_bounds(share, n), n)


def proportion_difference(hits: int, n: int, other_hits: int, other_n: int) -> Interval:
    """The first proportion less the second, with Newcombe's (1998) hybrid score interval."""
    first, second = proportion(hits, n), proportion(other_hits, other_n)
    difference = first.mean - second.mean
    down = math.hypot(first.mean - first.lower, second.upper - second.mean)
    up = math.hypot(first.upper - first.mean, second.mean - second.lower)
    return Interval(difference, difference - down, difference + up, n + other_n)
