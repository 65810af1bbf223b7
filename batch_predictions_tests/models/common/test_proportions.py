"""Proportions of clustered units: between the number of clusters and the number of units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from batch_predictions.models.common.intervals import (
    ClusterSums,
    clustered_proportion,
    power_of_difference,
    proportion,
    proportion_difference,
)

CLUSTERS = st.lists(
    st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    min_size=1,
    max_size=30,
)


def sums_of(clusters: list[tuple[int, int]]) -> ClusterSums:
    n, hits = np.array(clusters, dtype=float).T
    return ClusterSums(
        len(clusters),
        int(n.sum()),
        int(hits.sum()),
        float((n * n).sum()),
        float((hits * hits).sum()),
        float((hits * n).sum()),
    )


@given(clusters=CLUSTERS)
def test_it_is_between_that_of_the_clusters_and_that_of_the_units(
    clusters: list[tuple[int, int]],
) -> None:
    sums = sums_of(clusters)
    interval = clustered_proportion(sums)
    units = proportion(sums.hits, sums.n)
    assert interval.mean == units.mean and interval.n == sums.n
    assert 0 <= interval.lower <= interval.mean <= interval.upper <= 1
    assert interval.lower <= units.lower + 1e-12 and interval.upper >= units.upper - 1e-12


def test_independent_units_are_wilson_s_and_equal_ones_count_once() -> None:
    alone = [(1, 1)] * 30 + [(1, 0)] * 70
    assert clustered_proportion(sums_of(alone)) == pytest.approx(proportion(30, 100))
    # Users who click on all of their four items or on none are 100 units, not 400.
    alike = [(4, 4)] * 30 + [(4, 0)] * 70
    interval = clustered_proportion(sums_of(alike))
    assert interval[:3] == pytest.approx(proportion(30, 100)[:3], abs=1e-3)
    assert interval.n == 400
    nobody = clustered_proportion(sums_of([(10, 0)] * 20))
    assert nobody[:3] == proportion(0, 20)[:3], "as many as there are users"
    assert np.isnan(clustered_proportion(ClusterSums(0, 0, 0, 0, 0, 0)).mean)


def test_it_contains_the_truth_as_often_as_it_says() -> None:
    """Users differ in how likely they click; their impressions are not independent."""
    random = np.random.default_rng(3)
    covered = {"clustered": 0, "naive": 0}
    trials = 400
    for _ in range(trials):
        shares = random.beta(0.5, 1.5, size=200)  # mean .25
        hits = random.binomial(8, shares)
        sums = sums_of([(8, int(h)) for h in hits])
        clustered = clustered_proportion(sums)
        naive = proportion(sums.hits, sums.n)
        covered["clustered"] += clustered.lower <= 0.25 <= clustered.upper
        covered["naive"] += naive.lower <= 0.25 <= naive.upper
    assert covered["clustered"] / trials > 0.92
    assert covered["naive"] / trials < 0.85, "as independent ones, the interval is too narrow"


def test_power_is_that_of_the_textbook() -> None:
    # .10 against .15: 683 in each group have a power of .8 (normal approximation, unpooled).
    assert power_of_difference(0.1, 0.5, 683, 683) == pytest.approx(0.8, abs=0.002)
    assert power_of_difference(0.1, 0.5, 10, 10) < 0.1
    assert power_of_difference(0.1, 0.5, 1e6, 1e6) == pytest.approx(1)
    assert power_of_difference(0, 0.5, 100, 100) == 0.05, "of nothing, there is no uplift"
    assert np.isnan(power_of_difference(0.1, 0.5, 0, 100))


@given(a_n=st.integers(1, 10**6), b_n=st.integers(1, 10**6), data=st.data())
def test_intervals_are_those_of_statsmodels(a_n: int, b_n: int, data: st.DataObject) -> None:
    a_hits, b_hits = data.draw(st.integers(0, a_n)), data.draw(st.integers(0, b_n))
    own = proportion(a_hits, a_n)
    expected = proportion_confint(a_hits, a_n, method="wilson")
    assert (own.lower, own.upper) == pytest.approx(expected, abs=1e-7)
    difference = proportion_difference(a_hits, a_n, b_hits, b_n)
    expected = confint_proportions_2indep(a_hits, a_n, b_hits, b_n, method="newcomb")
    assert (difference.lower, difference.upper) == pytest.approx(expected, abs=1e-7)
