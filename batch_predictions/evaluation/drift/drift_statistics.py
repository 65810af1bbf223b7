"""Statistics of the difference of two histograms: PSI, Kolmogorov-Smirnov and Wasserstein."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles

Rows: TypeAlias = npt.NDArray[np.int64]

PSI, KS, WASSERSTEIN = "psi", "ks", "wasserstein"
GROUPS = 10
"""Of the population stability index of numbers: deciles of the reference, as is usual."""
_PRIOR = 0.5
"""Added to every count, so that a bin without rows has a finite share."""


def compare_numbers(reference: Rows, rows: Rows, ends: Doubles) -> dict[str, float]:
    """Computes how much two histograms of a column of numbers differ.

    Args:
        reference: rows of the training's last day without a value, and in each bin, (1 + bins,).
        rows: the same of the day, (1 + bins,).
        ends: the smallest number, and the end of each bin, ascending, (1 + bins,); nan where no
            row has a value.

    Returns:
        `psi` over deciles of the reference, with a bin for rows without a value: below .1 little
        has changed, above .25 much has (Siddiqi 2006, "Credit Risk Scorecards"). `ks`, the largest
        difference of the distribution functions, 0 to 1, at the ends of bins, and `wasserstein`,
        the mean distance that values moved, in their unit, with values spread evenly within bins;
        both of the rows with a value, and left out where one of the days has none. Days without
        rows have no statistics.
    """
    if not reference.sum() or not rows.sum():
        return {}
    groups = _deciles(reference[1:])
    grouped = (
        np.append(np.bincount(groups, weights=counts[1:], minlength=GROUPS), counts[0])
        for counts in (reference, rows)
    )
    result = {PSI: population_stability(*grouped)}
    if reference[1:].sum() and rows[1:].sum():
        before, now = (np.cumsum(counts[1:]) / counts[1:].sum() for counts in (reference, rows))
        result[KS] = float(np.abs(before - now).max())
        result[WASSERSTEIN] = _area_between(before, now, ends)
    return result


def compare_categories(reference: Rows, rows: Rows) -> dict[str, float]:
    """The `psi` of a column of text, (bins,) each; empty where one of the days has no rows."""
    if not reference.sum() or not rows.sum():
        return {}
    return {PSI: population_stability(reference, rows)}


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


def _deciles(reference: Rows) -> npt.NDArray[np.int64]:
    """The group of each bin, 0 to 9: that of its middle row.

    Bins at both ends that the reference leaves empty are of the group next to them.
    """
    filled = np.flatnonzero(reference)
    if not len(filled):
        return np.zeros(len(reference), np.int64)
    middle = np.cumsum(reference) - reference / 2
    groups = np.minimum((middle / reference.sum() * GROUPS).astype(np.int64), GROUPS - 1)
    groups[: filled[0]], groups[filled[-1] + 1 :] = groups[filled[0]], groups[filled[-1]]
    return groups


def _area_between(before: Doubles, now: Doubles, ends: Doubles) -> float:
    """The area between two distribution functions that are straight within bins.

    Args:
        before: shares up to the end of each bin, (bins,).
        now: likewise.
        ends: as in `compare_numbers`.
    """
    difference = np.append(0.0, before - now)
    left, right = difference[:-1], difference[1:]
    mean = np.abs(left + right) / 2
    # Two triangles, where one function is above the other first and below it then.
    crossed = left * right < 0
    left, right = left[crossed], right[crossed]
    mean[crossed] = (left**2 + right**2) / (2 * np.abs(left - right))
    return float(np.nansum(mean * np.diff(ends)))
