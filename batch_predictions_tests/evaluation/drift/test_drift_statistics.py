"""Statistics of two histograms: known answers."""

from __future__ import annotations

import numpy as np
import pytest

from batch_predictions.evaluation.drift.compute import (
    GROUPS,
    compare_categories,
    compare_numbers,
    population_stability,
)


def counts(*values: int) -> np.ndarray:
    """Rows without a value, and in each bin."""
    return np.array(values, np.int64)


def test_equal_histograms_do_not_differ() -> None:
    rows, ends = counts(3, *[10] * 20), np.arange(21.0)
    assert compare_numbers(rows, 2 * rows, ends)["ks"] == 0
    assert compare_numbers(rows, rows, ends) == {"psi": 0, "ks": 0, "wasserstein": 0}
    assert compare_categories(counts(0, 5, 5), counts(0, 5, 5)) == {"psi": 0}


def test_psi_is_that_of_its_definition() -> None:
    # By hand, with half a row added to each of two bins.
    expected, actual = np.array([80.5, 20.5]) / 101, np.array([50.5, 50.5]) / 101
    by_hand = ((actual - expected) * np.log(actual / expected)).sum()
    assert population_stability(counts(80, 20), counts(50, 50)) == pytest.approx(by_hand)
    assert compare_categories(counts(80, 20), counts(50, 50))["psi"] == pytest.approx(by_hand)


def test_psi_is_of_deciles() -> None:
    reference, rows = counts(0, *[10] * 20), counts(0, *[10, 20, 0, 10] * 5)
    # Bins 1 and 2, 3 and 4, … are a decile each.
    grouped = population_stability(counts(*[20] * GROUPS), counts(*[30, 10] * 5))
    assert compare_numbers(reference, rows, np.arange(21.0))["psi"] == pytest.approx(grouped)


def test_numbers_beyond_those_of_the_training_are_of_the_outer_deciles() -> None:
    reference = counts(0, 0, *[10] * 10, 0)
    rows = counts(0, 4, 6, *[10] * 8, 6, 4)
    assert compare_numbers(reference, rows, np.arange(-1.0, 12.0))["psi"] == 0


def test_rows_without_a_value_are_a_bin() -> None:
    reference, rows = counts(0, *[10] * 10), counts(50, *[5] * 10)
    statistics = compare_numbers(reference, rows, np.arange(11.0))
    assert statistics["psi"] > 1 and statistics["ks"] == 0


@pytest.mark.parametrize(
    ("reference", "rows", "names"),
    [
        (counts(0, 0), counts(0, 1), set()),
        (counts(0, 1), counts(0, 0), set()),
        (counts(1, 0), counts(0, 1), {"psi"}),
        (counts(1, 0), counts(1, 0), {"psi"}),
        (counts(1, 1), counts(0, 1), {"psi", "ks", "wasserstein"}),
    ],
)
def test_days_without_rows_or_values(
    reference: np.ndarray, rows: np.ndarray, names: set[str]
) -> None:
    for ends in (np.array([0.0, 1.0]), np.array([np.nan, np.nan])):
        statistics = compare_numbers(reference, rows, ends)
        assert set(statistics) == names
        assert all(np.isfinite(value) and value >= 0 for value in statistics.values())


def test_wasserstein_is_the_area_between_the_distribution_functions() -> None:
    # All rows of [0, 1] move to [2, 3].
    moved = compare_numbers(counts(0, 8, 0, 0), counts(0, 0, 0, 8), np.arange(4.0))
    assert moved["wasserstein"] == pytest.approx(2) and moved["ks"] == 1
    # The functions cross in the middle of the second bin: two triangles, and two more.
    crossed = compare_numbers(counts(0, 1, 2, 3), counts(0, 2, 2, 2), np.array([0, 1.0, 2, 3]))
    assert crossed["wasserstein"] == pytest.approx((1 / 6) / 2 + (1 / 6) + (1 / 6) / 2)
    across = compare_numbers(counts(0, 1, 4, 3), counts(0, 3, 0, 5), np.array([0, 1.0, 2, 3]))
    # Differences of 0, -1/4, 1/4, 0 at the ends.
    assert across["wasserstein"] == pytest.approx(3 * 0.25 / 2)
