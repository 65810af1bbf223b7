"""How much two samples differ: PSI, Kolmogorov-Smirnov and Wasserstein."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Doubles: TypeAlias = npt.NDArray[np.float64]

PSI, KS, WASSERSTEIN = "psi", "ks", "wasserstein"
BINS = 10
"""Of the population stability index: deciles of the reference, as is usual."""
_PRIOR = 0.5
"""Added to every count, so that a bin without rows has a finite share."""


def compare_numbers(reference: Doubles, values: Doubles) -> dict[str, float]:
    """The statistics of two samples of numbers.

    Args:
        reference: of the training, (n,); nan where a row has none.
        values: of the day, (m,).

    Returns:
        `psi` over deciles of the reference, with a bin for rows without a value: below .1 little
        has changed, above .25 much has (Siddiqi 2006, "Credit Risk Scorecards"). `ks`, the largest
        difference of the distribution functions, 0 to 1, and `wasserstein`, the mean distance that
        values moved, in their unit, both of the rows with a value; left out where a sample has
        none. Empty samples have no statistics.
    """
    if not len(reference) or not len(values):
        return {}
    known, now = reference[~np.isnan(reference)], values[~np.isnan(values)]
    edges = np.empty(0)
    if len(known):
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = [
        np.append(
            np.bincount(np.searchsorted(edges, sample, side="left"), minlength=len(edges) + 1),
            missing,
        )
        for sample, missing in (
            (known, len(reference) - len(known)),
            (now, len(values) - len(now)),
        )
    ]
    result = {PSI: population_stability(*counts)}
    if len(known) and len(now):
        result[KS], result[WASSERSTEIN] = _compare_distributions(known, now)
    return result


def _compare_distributions(first: Doubles, second: Doubles) -> tuple[float, float]:
    """Kolmogorov-Smirnov's and Wasserstein's distance: as scipy.stats has them, whose import takes
    longer than all columns of a night."""
    first, second = np.sort(first), np.sort(second)
    values = np.concatenate([first, second])
    values.sort()
    distances = np.abs(
        np.searchsorted(first, values, side="right") / len(first)
        - np.searchsorted(second, values, side="right") / len(second)
    )
    return float(distances.max()), float((distances[:-1] * np.diff(values)).sum())


def compare_categories(reference: npt.NDArray[Any], values: npt.NDArray[Any]) -> dict[str, float]:
    """The `psi` of two samples of categories, (n,) and (m,), None being one; empty without rows."""
    if not len(reference) or not len(values):
        return {}
    names = sorted({*map(str, reference), *map(str, values)})
    counts = []
    for sample in (reference, values):
        found, numbers = np.unique(np.array([str(value) for value in sample]), return_counts=True)
        by_name = dict(zip(found.tolist(), numbers.tolist(), strict=True))
        counts.append(np.array([by_name.get(name, 0) for name in names]))
    return {PSI: population_stability(*counts)}


def population_stability(reference: npt.NDArray[Any], counts: npt.NDArray[Any]) -> float:
    """The population stability index of two rows of counts over the same bins, at least 0.

    Bins that are empty in both count for nothing.
    """
    used = (reference + counts) > 0
    shares = []
    for numbers in (reference[used], counts[used]):
        smoothed = numbers + _PRIOR
        shares.append(smoothed / smoothed.sum())
    expected, actual = shares
    return max(0.0, float(((actual - expected) * np.log(actual / expected)).sum()))
