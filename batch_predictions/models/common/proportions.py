"""Proportions and their differences, with 95 % intervals that are valid for small counts too."""

from __future__ import annotations

import math
from typing import NamedTuple

from batch_predictions.models.common.bootstrap import Interval

Z95 = 1.959964
"""The 97.5 % quantile of the standard normal distribution."""


class ClusterSums(NamedTuple):
    """Sums over clusters of units.

    Attributes:
        clusters: number of clusters.
        n: number of units.
        hits: number of units that are hits.
        n_squared: sum of the squares of each cluster's number of units.
        hits_squared: sum of the squares of each cluster's hits.
        hits_by_n: sum of each cluster's hits times its number of units.
    """

    clusters: int
    n: int
    hits: int
    n_squared: float
    hits_squared: float
    hits_by_n: float


def wilson_bounds(share: float, n: float) -> tuple[float, float]:
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


def clustered_proportion(clusters: ClusterSums) -> Interval:
    """hits / n with Wilson's interval for the effective number of units.

    Units of one cluster, such as the impressions of one user, are alike, so that they say less than
    as many independent ones. The effective number is n divided by the design effect: the variance
    of the share by its clusters (linearised ratio) over that of independent units (Korn and
    Graubard 1998). It is between the number of clusters and n; where all shares are 0 or all are 1,
    the number of clusters. nan where n is 0.
    """
    n, k = clusters.n, clusters.clusters
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    share = clusters.hits / n
    effective = float(k)
    if 0 < clusters.hits < n and k > 1:
        squares = (
            clusters.hits_squared - 2 * share * clusters.hits_by_n + share**2 * clusters.n_squared
        )
        variance = k / (k - 1) * max(squares, 0.0) / n**2
        if variance > 0:
            effective = min(float(n), max(float(k), share * (1 - share) / variance))
        else:
            effective = float(n)
    return Interval(share, *wilson_bounds(share, effective), n)


def proportion_difference(a_hits: int, a_n: int, b_hits: int, b_n: int) -> Interval:
    """a_hits / a_n minus b_hits / b_n, with Newcombe's (1998) hybrid score interval."""
    a, b = proportion(a_hits, a_n), proportion(b_hits, b_n)
    difference = a.mean - b.mean
    lower = difference - math.hypot(a.mean - a.lower, b.upper - b.mean)
    upper = difference + math.hypot(a.upper - a.mean, b.mean - b.lower)
    return Interval(difference, lower, upper, a_n + b_n)
