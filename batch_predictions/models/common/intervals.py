"""Statistics with 95 % intervals: by the bootstrap (Efron 1979), and proportions in closed form.

Equal seeds and numbers of units give equal samples, so that differences between models on the same
units are paired. Intervals of proportions are valid for small counts too;
`statsmodels.stats.proportion` has the same ones, and a test compares these with them. Its import
takes a second, longer than the start of a command.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles

Row: TypeAlias = dict[str, str | float | int | None]
"""A row of `evaluation.model_metrics`: candidate, metric, value, lower, upper, n."""

SAMPLES = 1000
"""Bootstrap samples: the ends of a 95 % interval then vary by about 2 % of its width."""
CHUNK_SAMPLES = 100
"""Samples of one chunk of `resample_counts`, which bounds its memory."""
CHUNK_VALUES = 2_000_000
"""Values that `bootstrap_interval` draws at once, which bounds its memory."""


class Interval(NamedTuple):
    """A value and its 95 % interval; nan where it cannot be computed.

    Attributes:
        mean: the value, of the mean or of another statistic.
        lower, upper: ends of the interval.
        n: number of units.
    """

    mean: float
    lower: float
    upper: float
    n: int

    @property
    def exceeds_standard_error(self) -> bool:
        """Whether the value is above one standard error, a quarter of the interval's width."""
        return self.mean > (self.upper - self.lower) / 4

    def __str__(self) -> str:
        return f"{self.mean:.4f} (95 % interval {self.lower:.4f} to {self.upper:.4f})"


def percentile_interval(value: float, samples: Doubles, n: int) -> Interval:
    """The middle 95 % of a statistic's bootstrap samples, widened to contain the value itself.

    Args:
        value: the statistic on all units.
        samples: the statistic on each sample; values that are not finite are ignored.
        n: number of units.
    """
    finite = samples[np.isfinite(samples)]
    if not len(finite) or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"), n)
    lower, upper = np.quantile(finite, [0.025, 0.975])
    return Interval(value, min(float(lower), value), max(float(upper), value), n)


def bootstrap_interval(values: Doubles, seed: int) -> Interval:
    """Mean of one value per unit, with the percentile interval over resampled units.

    Without values, everything is nan.

    Args:
        values: one per unit, (n,).
        seed: of the bootstrap samples.
    """
    n = len(values)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    random = np.random.default_rng(seed)
    means = np.empty(SAMPLES)
    step = max(1, CHUNK_VALUES // n)
    for start in range(0, SAMPLES, step):
        size = min(step, SAMPLES - start)
        means[start : start + size] = values[random.integers(0, n, size=(size, n))].mean(axis=1)
    return percentile_interval(float(values.mean()), means, n)


def clustered_interval(values: Doubles, clusters: npt.NDArray[np.int64], seed: int) -> Interval:
    """Mean of values, with the percentile interval over resampled clusters of them.

    Args:
        values: at least one, (n,).
        clusters: cluster of each value, 0 to clusters - 1, (n,).
        seed: of the bootstrap samples.
    """
    sums, sizes = np.bincount(clusters, values), np.bincount(clusters)
    samples = [counts @ sums / (counts @ sizes) for counts in resample_counts(len(sizes), seed)]
    return percentile_interval(float(values.mean()), np.concatenate(samples), len(values))


def paired_difference(a: Doubles, b: Doubles, seed: int) -> Interval:
    """Mean of a - b over the same units, with its 95 % bootstrap interval.

    Args:
        a: one value per unit, (n,).
        b: values of the same units in the same order, (n,).
        seed: of the bootstrap samples.

    Raises:
        ValueError: a and b have different lengths.
    """
    if len(a) != len(b):
        raise ValueError(f"paired differences need the same units: {len(a)} and {len(b)} values")
    return bootstrap_interval(a - b, seed)


def resample_counts(n: int, seed: int) -> Iterator[Doubles]:
    """Yields how often each of n units is in each sample, in chunks of (up to CHUNK_SAMPLES, n).

    Args:
        n: number of units.
        seed: of the samples.
    """
    random = np.random.default_rng(seed)
    for start in range(0, SAMPLES, CHUNK_SAMPLES):
        size = min(CHUNK_SAMPLES, SAMPLES - start)
        units = random.integers(0, max(1, n), size=(size, n))
        yield np.stack([np.bincount(row, minlength=n) for row in units]).astype(np.float64)


def multinomial_counts(n: int, seed: int) -> Doubles:
    """Draws how often each of n units is in each sample, (SAMPLES, n).

    The distribution is that of `resample_counts`, but all samples are in memory: for few units.
    """
    random = np.random.default_rng(seed)
    return random.multinomial(n, np.full(n, 1 / max(n, 1)), SAMPLES).astype(float)


def metric_row(candidate: str, metric: str, interval: Interval) -> Row:
    """Returns a row of `evaluation.model_metrics`; nan becomes null."""

    def nan_to_none(value: float) -> float | None:
        return None if np.isnan(value) else value

    return {
        "candidate": candidate,
        "metric": metric,
        "value": nan_to_none(interval.mean),
        "lower": nan_to_none(interval.lower),
        "upper": nan_to_none(interval.upper),
        "n": interval.n,
    }


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
    """Hits / n with Wilson's interval; nan where n is 0."""
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    share = hits / n
    return Interval(share, *wilson_bounds(share, n), n)


def clustered_proportion(clusters: ClusterSums) -> Interval:
    """Hits / n with Wilson's interval for the effective number of units.

    Units of one cluster, such as the impressions of one user, are alike, so that they say less than
    as many independent ones. The effective number is n divided by the design effect: the variance
    of the share by its clusters (linearised ratio) over that of independent units (Korn and
    Graubard 1998). It is between the number of clusters and n; where all shares are 0 or all are 1,
    the number of clusters. nan where n is 0.
    """
    if clusters.n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    share = clusters.hits / clusters.n
    return Interval(share, *wilson_bounds(share, effective_units(clusters)), clusters.n)


def effective_units(clusters: ClusterSums) -> float:
    """Returns the effective number of units in clusters; see `clustered_proportion`."""
    n, k = clusters.n, clusters.clusters
    if not 0 < clusters.hits < n or k < 2:
        return float(k)
    share = clusters.hits / n
    squares = clusters.hits_squared - 2 * share * clusters.hits_by_n + share**2 * clusters.n_squared
    variance = k / (k - 1) * max(squares, 0.0) / n**2
    independent = share * (1 - share)
    return float(n) if variance * n <= independent else max(float(k), independent / variance)


def power_of_difference(share: float, uplift: float, a_units: float, b_units: float) -> float:
    """Probability of a significant difference (5 %, two-sided) if there is a relative uplift.

    Normal approximation of two independent shares.

    Args:
        share: of the units that are compared with, 0 to 1.
        uplift: relative difference of the others, such as .05; their share is at most 1.
        a_units: number of independent units with the uplift.
        b_units: number of those without.

    Returns:
        .05 where there is nothing to tell apart; nan without units.
    """
    if not (a_units > 0 and b_units > 0):
        return math.nan
    lifted = min(1.0, share * (1 + uplift))
    error = math.sqrt(lifted * (1 - lifted) / a_units + share * (1 - share) / b_units)
    if error == 0:
        return 0.05
    normal, effect = NormalDist(), abs(lifted - share) / error
    return normal.cdf(effect - Z95) + normal.cdf(-effect - Z95)


def proportion_difference(a_hits: int, a_n: int, b_hits: int, b_n: int) -> Interval:
    """a_hits / a_n minus b_hits / b_n, with Newcombe's (1998) hybrid score interval.

    Args:
        a_hits: 0 to `a_n`.
        a_n: units of the first sample.
        b_hits: 0 to `b_n`.
        b_n: units of the second sample.
    """
    return interval_difference(proportion(a_hits, a_n), proportion(b_hits, b_n))


def interval_difference(a: Interval, b: Interval) -> Interval:
    """The difference of two independent shares, with Newcombe's hybrid of their intervals."""
    difference = a.mean - b.mean
    lower = difference - math.hypot(a.mean - a.lower, b.upper - b.mean)
    upper = difference + math.hypot(a.upper - a.mean, b.mean - b.lower)
    return Interval(difference, lower, upper, a.n + b.n)
