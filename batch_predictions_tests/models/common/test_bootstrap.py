"""Bootstrap intervals cover the true value, and equal seeds give equal samples."""

from __future__ import annotations

import numpy as np
import pytest

from batch_predictions.models.common.intervals import (
    bootstrap_interval,
    multinomial_counts,
    paired_difference,
    percentile_interval,
    resample_counts,
)


def test_about_95_of_100_intervals_cover_the_mean() -> None:
    random = np.random.default_rng(0)
    samples = [random.exponential(size=200) for _ in range(200)]
    intervals = [bootstrap_interval(values, seed=n) for n, values in enumerate(samples)]
    covered = sum(interval.lower <= 1.0 <= interval.upper for interval in intervals)
    assert 180 <= covered <= 199


def test_every_sample_has_n_units_and_depends_only_on_the_seed() -> None:
    counts = np.concatenate(list(resample_counts(30, seed=3)))
    assert counts.shape == (1000, 30) and (counts.sum(axis=1) == 30).all()
    assert (counts == np.concatenate(list(resample_counts(30, seed=3)))).all()
    assert (counts != np.concatenate(list(resample_counts(30, seed=4)))).any()
    assert (multinomial_counts(30, seed=3).sum(axis=1) == 30).all()


def test_samples_that_are_not_finite_are_ignored_and_the_value_is_in_the_interval() -> None:
    interval = percentile_interval(5.0, np.array([np.nan, 1.0, 2.0, np.inf]), 4)
    assert (interval.lower, interval.upper) == (1.025, 5.0)
    assert np.isnan(percentile_interval(float("nan"), np.ones(3), 3).lower)
    assert np.isnan(bootstrap_interval(np.empty(0), 0).mean)


def test_intervals_contain_the_mean_and_are_reproducible() -> None:
    values = np.random.default_rng(0).normal(1.0, 1.0, 400)
    first, again = bootstrap_interval(values, seed=7), bootstrap_interval(values, seed=7)
    assert first == again
    assert first.lower < first.mean < first.upper
    # The percentile interval of a mean is about the normal one.
    assert first.upper - first.lower == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert np.isnan(bootstrap_interval(np.empty(0), seed=0).mean)


def test_paired_differences_are_narrower_than_the_values_vary() -> None:
    taste = np.random.default_rng(0).random(200)
    gain = paired_difference(taste + 0.01, taste, seed=0)
    assert (gain.lower, gain.upper) == (pytest.approx(0.01), pytest.approx(0.01))
    with pytest.raises(ValueError, match="same units"):
        paired_difference(taste, taste[1:], seed=0)
