"""Statistics with 95 % bootstrap intervals (Efron 1979), paired where models are compared.

Equal seeds and numbers of units give equal samples, so that differences between models on the same
units are paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np

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


def bootstrap_interval(values: Doubles, seed: int, samples: int = SAMPLES) -> Interval:
    """Mean of one value per unit, with the percentile interval over resampled units.

    Without values, everything is nan.

    Args:
        values: one per unit, (n,).
        seed: of the bootstrap samples.
        samples: their number.
    """
    n = len(values)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    random = np.random.default_rng(seed)
    means = np.empty(samples)
    step = max(1, CHUNK_VALUES // n)
    for start in range(0, samples, step):
        size = min(step, samples - start)
        means[start : start + size] = values[random.integers(0, n, size=(size, n))].mean(axis=1)
    return percentile_interval(float(values.mean()), means, n)


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


def resample_counts(n: int, seed: int, samples: int = SAMPLES) -> Iterator[Doubles]:
    """Yields how often each of n units is in each sample, in chunks of (up to CHUNK_SAMPLES, n).

    Args:
        n: number of units.
        seed: of the samples.
        samples: their number.
    """
    random = np.random.default_rng(seed)
    for start in range(0, samples, CHUNK_SAMPLES):
        size = min(CHUNK_SAMPLES, samples - start)
        units = random.integers(0, max(1, n), size=(size, n))
        yield np.stack([np.bincount(row, minlength=n) for row in units]).astype(np.float64)


def multinomial_counts(n: int, seed: int, samples: int = SAMPLES) -> Doubles:
    """Draws how often each of n units is in each sample, (samples, n).

    The distribution is that of `resample_counts`, but all samples are in memory: for few units.
    """
    random = np.random.default_rng(seed)
    return random.multinomial(n, np.full(n, 1 / max(n, 1)), samples).astype(float)


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
