"""From reviews to items: intervals, changes, corrected shares, and terms."""

from __future__ import annotations

import numpy as np
import pytest

from batch_predictions.models.sentiment.aspect_terms import (
    background_shares,
    extract_terms,
    find_aspects,
)
from batch_predictions.models.sentiment.item_aggregates import (
    change_p_value,
    corrected_shares,
    wilson_interval,
)


@pytest.mark.parametrize("net", [-1.0, -0.3, 0.0, 0.9, 1.0])
@pytest.mark.parametrize("n", [1, 5, 1000])
def test_an_interval_contains_its_value_and_narrows(net: float, n: int) -> None:
    lower, upper = wilson_interval(net, n)
    assert -1 <= lower <= net <= upper <= 1
    narrower_lower, narrower_upper = wilson_interval(net, 4 * n)
    assert upper - lower > narrower_upper - narrower_lower


def test_95_percent_of_intervals_contain_the_true_value() -> None:
    random = np.random.default_rng(1)
    means = random.choice([-1.0, 1.0], p=[0.2, 0.8], size=(2000, 25)).mean(axis=1)
    intervals = [wilson_interval(mean, 25) for mean in means]
    coverage = np.mean([lower <= 0.6 <= upper for lower, upper in intervals])
    assert coverage == pytest.approx(0.95, abs=0.03)


def _nets(random: np.random.Generator, n: int, negative_share: float) -> np.ndarray:
    sign = np.where(random.random(n) < negative_share, -1, 1)
    return np.asarray(sign * random.uniform(0.6, 0.98, n))


def test_p_values_of_unchanged_items_are_not_too_small() -> None:
    random = np.random.default_rng(2)
    p_values = np.array(
        [
            change_p_value(_nets(random, 9, 0.25), _nets(random, 36, 0.25), f"p{n}", 0.05)
            for n in range(600)
        ],
        dtype=float,
    )
    for level in (0.01, 0.05):
        assert (p_values <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / 600)


def test_a_change_is_significant_and_few_reviews_are_not_tested() -> None:
    random = np.random.default_rng(3)
    previous = _nets(random, 40, 0.1)
    p_value = change_p_value(_nets(random, 10, 0.9), previous, "p", 0.05)
    assert p_value is not None and p_value < 1e-4
    assert change_p_value(np.zeros(2), previous, "p", 0.05) is None
    equal = np.full(30, 0.9)
    assert change_p_value(equal[:5], equal, "p", 0.05) == pytest.approx(1)


def test_shares_are_corrected_for_confusions_of_the_model() -> None:
    confusion = np.array([[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]])
    truth = np.array([[0.6, 0.3, 0.1], [0.0, 0.0, 1.0]])
    prior = np.array([0.2, 0.2, 0.6])
    means = truth @ confusion
    many_reviews = corrected_shares(means, np.array([5000, 5000]), confusion, prior)
    np.testing.assert_allclose(many_reviews, truth, atol=0.03)
    assert np.abs(many_reviews - truth).sum() < np.abs(means - truth).sum()
    # A single review changes the usual shares only a little.
    one_review = corrected_shares(means, np.array([1, 1]), confusion, prior)
    assert np.abs(one_review - prior).max() < 0.15


def test_terms_are_words_that_are_no_stop_words_and_their_pairs() -> None:
    assert extract_terms("The zip broke, and very fast!") == {"zip", "broke", "fast", "zip broke"}


def test_aspects_are_terms_that_positive_and_negative_reviews_do_not_share() -> None:
    positive = [("the soft fabric is lovely", 0.95, 0.02)] * 8
    negative = [("the zip broke, fabric fine", 0.03, 0.94)] * 6
    reviews = positive + negative
    background = background_shares(reviews)
    aspects = find_aspects(reviews, background, max_terms=3, min_reviews=3)
    up = {aspect.term for aspect in aspects if aspect.log_odds > 0}
    down = {aspect.term for aspect in aspects if aspect.log_odds < 0}
    assert "soft" in up | {word for term in up for word in term.split()}
    assert {"zip", "broke"} & {word for term in down for word in term.split()}
    assert "fabric" not in up | down
    assert not find_aspects(positive[:2], background, max_terms=3, min_reviews=3)
