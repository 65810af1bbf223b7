"""Shares and their differences, with 95 % intervals that hold for small numbers too."""

from __future__ import annotations

import math

from batch_predictions.models.common.ranking_metrics import Interval

Z = 1.959964


def share(hits: int, n: int) -> Interval:
    """A share with Wilson's (1927) interval; nan where nobody was asked."""
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    p = hits / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Interval(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), n)


def difference(hits: int, n: int, other_hits: int, other_n: int) -> Interval:
    """The first share less the second, with Newcombe's (1998) hybrid score interval."""
    one, two = share(hits, n), share(other_hits, other_n)
    gap = one.mean - two.mean
    down = math.hypot(one.mean - one.lower, two.upper - two.mean)
    up = math.hypot(one.upper - one.mean, two.mean - two.lower)
    return Interval(gap, gap - down, gap + up, n + other_n)
