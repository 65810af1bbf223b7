"""From reviews to products: intervals, changes, corrected shares, the words that say why."""

from __future__ import annotations

import numpy as np
import pytest

from batch_predictions.models.sentiment.aspects import aspects, background, terms_of
from batch_predictions.models.sentiment.item_aggregates import (
    change_chance,
    corrected_shares,
    wilson,
)


@pytest.mark.parametrize("net", [-1.0, -0.3, 0.0, 0.9, 1.0])
@pytest.mark.parametrize("n", [1, 5, 1000])
def test_an_interval_holds_its_value_and_narrows(net: float, n: int) -> None:
    lower, upper = wilson(net, n)
    assert -1 <= lower <= net <= upper <= 1
    assert upper - lower > wilson(net, 4 * n)[1] - wilson(net, 4 * n)[0]


def test_intervals_of_a_coin_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    means = random.choice([-1.0, 1.0], p=[0.2, 0.8], size=(2000, 25)).mean(axis=1)
    held = np.mean([lower <= 0.6 <= upper for lower, upper in (wilson(m, 25) for m in means)])
    assert held == pytest.approx(0.95, abs=0.03)


def _nets(random: np.random.Generator, n: int, negative: float) -> np.ndarray:
    sign = np.where(random.random(n) < negative, -1, 1)
    return np.asarray(sign * random.uniform(0.6, 0.98, n))


def test_chances_of_products_that_did_not_change_are_as_small_as_often_as_they_say() -> None:
    random = np.random.default_rng(2)
    chances = np.array(
        [
            change_chance(_nets(random, 9, 0.25), _nets(random, 36, 0.25), f"p{n}", 0.05)
            for n in range(600)
        ],
        dtype=float,
    )
    for level in (0.01, 0.05):
        assert (chances <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / 600)


def test_a_product_that_turned_bad_is_told_and_few_reviews_tell_nothing() -> None:
    random = np.random.default_rng(3)
    before = _nets(random, 40, 0.1)
    sure = change_chance(_nets(random, 10, 0.9), before, "p", 0.05)
    assert sure is not None and sure < 1e-4
    assert change_chance(np.zeros(2), before, "p", 0.05) is None
    same = np.full(30, 0.9)
    assert change_chance(same[:5], same, "p", 0.05) == pytest.approx(1)


def test_shares_are_corrected_for_a_model_that_confuses() -> None:
    confusion = np.array([[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]])
    truth = np.array([[0.6, 0.3, 0.1], [0.0, 0.0, 1.0]])
    means = truth @ confusion
    many = corrected_shares(means, np.array([5000, 5000]), confusion, np.array([0.2, 0.2, 0.6]))
    np.testing.assert_allclose(many, truth, atol=0.03)
    assert np.abs(many - truth).sum() < np.abs(means - truth).sum()
    # One review moves the usual shares a little.
    one = corrected_shares(means, np.array([1, 1]), confusion, np.array([0.2, 0.2, 0.6]))
    assert np.abs(one - [0.2, 0.2, 0.6]).max() < 0.15


def test_terms_are_words_that_mean_something_and_their_pairs() -> None:
    assert terms_of("The zip broke, and very fast!") == {"zip", "broke", "fast", "zip broke"}


def test_aspects_are_what_pleased_and_displeased_reviews_do_not_share() -> None:
    pleased = [("the soft fabric is lovely", 0.95, 0.02)] * 8
    displeased = [("the zip broke, fabric fine", 0.03, 0.94)] * 6
    usual = background(pleased + displeased)
    found = aspects(pleased + displeased, usual, most=3, least_reviews=3)
    up = {each.term for each in found if each.log_odds > 0}
    down = {each.term for each in found if each.log_odds < 0}
    assert "soft" in up | {word for term in up for word in term.split()}
    assert {"zip", "broke"} & {word for term in down for word in term.split()}
    assert "fabric" not in up | down
    assert not aspects(pleased[:2], usual, most=3, least_reviews=3)
