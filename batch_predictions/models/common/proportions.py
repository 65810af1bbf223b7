"""Proportions and their differences, with 95 % intervals that are valid for small counts too."""

from __future__ import annotations

import math

from batch_predictions.models.common.bootstrap import Interval

Z95 = 1.959964
"""The 97.5 % quantile of the standard normal distribution."""


def wilson_bounds(share: float, n: int) -> tuple[float, float]:
    """Ends of Wilson's (1927) 95 % interval of a share, 0 to 1, of n > 0 units."""
    z2 = Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half_width = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, min(share, centre - half_width)), min(1.0, max(share, centre + half_width))


def proportion(hits: int, n: int) -> Interval:
    """hits / n with Wilson's interval; nan where n is 0."""
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    share = hits / n
    return Interval(share, *wilson_bounds(share, n), n)


def proportion_difference(a_hits: int, a_n: int, b_hits: int, b_n: int) -> Interval:
    """a_hits / a_n minus b_hits / b_n, with Newcombe's (1998) hybrid score interval."""
    a, b = proportion(a_hits, a_n), proportion(b_hits, b_n)
    difference = a.mean - b.mean
    lower = difference - math.hypot(a.mean - a.lower, b.upper - b.mean)
    upper = difference + math.hypot(a.upper - a.mean, b.mean - b.lower)
    return Interval(difference, lower, upper, a_n + b_n)
