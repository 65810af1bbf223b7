"""Statistics with 95 % bootstrap intervals (Efron 1979), paired where models are compared.

The same seed and number of units draw the same samples, so that differences between models that
are measured on the same units are paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Doubles: TypeAlias = npt.NDArray[np.float64]

Row: TypeAlias = dict[str, str | float | int | None]
"""A row of `evaluation.model_metrics`: candidate, metric, value, lower, upper, n."""

SAMPLES = 1000
"""Bootstrap samples: the ends of a 95 % interval then vary by about 2 % of its width."""
CHUNK_SAMPLES = 100
"""Samples that `resample_counts` holds at a time."""


class Interval(NamedTuple):
    """A value and its 95 % interval; nan where it cannot be computed. `n` counts the units."""

    mean: float
    lower: float
    upper: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} (95 % interval {self.lower:.4f} to {self.upper:.4f})"


def percentile_interval(value: float, samples: Doubles, n: int) -> Interval:
    """The middle 95 % of a statistic's bootstrap samples, widened to hold the value itself.

    Args:
        value: the statistic on all units.
        samples: the statistic on each sample; values that are not finite are left out.
        n: number of units.
    """
    finite = samples[np.isfinite(samples)]
    if not len(finite) or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"), n)
    lower, upper = np.quantile(finite, [0.025, 0.975])
    return Interval(value, min(float(lower), value), max(float(upper), value), n)


def bootstrap_interval(values: Doubles, seed: int, samples: int = SAMPLES) -> Interval:
    """Mean of one value per unit, with the interval over units resampled with replacement.

    Without values everything is nan.
    """
    n = len(values)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    random = np.random.default_rng(seed)
    means = np.empty(samples)
    step = max(1, 2_000_000 // n)
    for start in range(0, samples, step):
        size = min(step, samples - start)
        means[start : start + size] = values[random.integers(0, n, size=(size, n))].mean(axis=1)
    return percentile_interval(float(values.mean()), means, n)


def paired_difference(a: Doubles, b: Doubles, seed: int) -> Interval:
    """Mean of a - b over the same units, with its 95 % bootstrap interval.

    Raises:
        ValueError: a and b have different lengths.
    """
    if len(a) != len(b):
        raise ValueError(f"paired differences need the same units: {len(a)} and {len(b)} values")
    return bootstrap_interval(a - b, seed)


def resample_counts(n: int, seed: int, samples: int = SAMPLES) -> Iterator[Doubles]:
    """How often each of n units is drawn in each sample, (up to CHUNK_SAMPLES, n) at a time."""
    random = np.random.default_rng(seed)
    for start in range(0, samples, CHUNK_SAMPLES):
        size = min(CHUNK_SAMPLES, samples - start)
        drawn = random.integers(0, max(1, n), size=(size, n))
        yield np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(np.float64)


def multinomial_counts(n: int, seed: int, samples: int = SAMPLES) -> Doubles:
    """How often each of n units is drawn in each sample, (samples, n), all at once.

    The same distribution as `resample_counts`, from one draw a sample: for few units.
    """
    random = np.random.default_rng(seed)
    return random.multinomial(n, np.full(n, 1 / max(n, 1)), samples).astype(float)


def metric_row(candidate: str, metric: str, interval: Interval) -> Row:
    """A row of `evaluation.model_metrics`; values that do not exist are null."""

    def or_null(number: float) -> float | None:
        return None if np.isnan(number) else number

    return {
        "candidate": candidate,
        "metric": metric,
        "value": or_null(interval.mean),
        "lower": or_null(interval.lower),
        "upper": or_null(interval.upper),
        "n": interval.n,
    }
