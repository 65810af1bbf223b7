"""Business rules of a list: what each holds back, and that lists are never shortened."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.recommender.business_rules import Rules


def build_list(
    rules: Rules,
    k: int,
    categories: list[int],
    in_history: tuple[int, ...] = (),
    boosted: tuple[int, ...] = (),
    ranked: list[int] | None = None,
) -> list[int]:
    """The list of one user; without `ranked`, item i has rank i."""
    ranked = list(range(len(categories))) if ranked is None else ranked
    return rules.apply(
        np.array([ranked]),
        k,
        in_history=np.array([[item in in_history for item in ranked]]),
        categories=np.array(categories),
        boosted=np.array([item in boosted for item in range(len(categories))]),
    )[0].tolist()


def test_without_rules_the_ranking_is_the_list() -> None:
    assert build_list(Rules(), 3, [0] * 5, in_history=(0, 1), boosted=(4,)) == [0, 1, 2]


def test_no_more_than_the_cap_of_one_category() -> None:
    assert build_list(Rules(per_category=2), 4, [0, 0, 0, 1, 0, 2]) == [0, 1, 3, 5]
    # Items without a category are not capped.
    assert build_list(Rules(per_category=1), 4, [-1, 0, -1, 0, -1]) == [0, 1, 2, 4]


def test_capped_items_fill_a_short_list_in_rank_order() -> None:
    assert build_list(Rules(per_category=1), 4, [0, 0, 0, 1]) == [0, 3, 1, 2]


def test_at_least_the_share_of_the_list_is_new() -> None:
    # Two of four: the last two places are kept for what is new.
    assert build_list(Rules(new_share=0.5), 4, [0] * 6, in_history=(0, 1, 2, 3)) == [0, 1, 4, 5]
    # There are enough new ones at the top.
    assert build_list(Rules(new_share=0.5), 4, [0] * 6, in_history=(2, 3)) == [0, 1, 2, 3]
    # A third of four is two, not one.
    assert build_list(Rules(new_share=1 / 3), 4, [0] * 6, in_history=(0, 1, 2, 3)) == [0, 1, 4, 5]
    assert build_list(Rules(new_share=1.0), 2, [0] * 4, in_history=(0, 2)) == [1, 3]


def test_seen_items_fill_up_where_too_few_are_new() -> None:
    assert build_list(Rules(new_share=1.0), 4, [0] * 5, in_history=(0, 1, 2, 4)) == [0, 1, 2, 3]
    assert build_list(Rules(new_share=1.0), 2, [0] * 2, in_history=(0, 1)) == [0, 1]


def test_boosted_items_move_up_by_boost_places() -> None:
    assert build_list(Rules(boost_places=2), 5, [0] * 5, boosted=(3,)) == [0, 3, 1, 2, 4]
    # The boosted keep their order among each other, and none falls off the top.
    assert build_list(Rules(boost_places=9), 5, [0] * 5, boosted=(2, 4)) == [2, 4, 0, 1, 3]


def test_rules_are_applied_together() -> None:
    rules = Rules(per_category=1, new_share=0.5, boost_places=3)
    # 3 moves to the top and takes category 1; the other place is for what is new, 2, but its
    # category is full. The second round then fills up with the next best by rank.
    assert build_list(rules, 2, [0, 0, 1, 1], in_history=(0, 1, 3), boosted=(3,)) == [3, 0]
    # With something new of another category all rules hold.
    assert build_list(rules, 2, [0, 0, 1, 1, 2], in_history=(0, 1, 3), boosted=(3,)) == [3, 4]


def test_short_rankings_give_short_lists() -> None:
    assert build_list(Rules(), 4, [0, 0, 0], ranked=[2, 0, -1]) == [0, 1, -1, -1]
    assert build_list(Rules(per_category=1), 2, [0], ranked=[-1]) == [-1, -1]


def test_no_users_and_no_items_give_no_rows() -> None:
    ranked: Any = np.empty((0, 3), dtype=np.int64)
    no_flags, no_categories = np.empty((0, 3), dtype=bool), np.empty(0, dtype=np.int64)
    lists = Rules().apply(
        ranked, 2, in_history=no_flags, categories=no_categories, boosted=np.empty(0, dtype=bool)
    )
    assert lists.shape == (0, 2)


@st.composite
def rule_cases(draw: st.DrawFn) -> dict[str, Any]:
    items, users = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    ranked = np.stack([rng.permutation(items) for _ in range(users)])
    for row in ranked:
        row[int(rng.integers(0, items + 1)) :] = -1
    return {
        "rules": Rules(
            draw(st.integers(0, 3)),
            draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])),
            draw(st.integers(0, 4)),
        ),
        "k": draw(st.integers(1, 15)),
        "ranked": ranked,
        "in_history": rng.random(ranked.shape) < 0.5,
        "categories": rng.integers(-1, 3, items),
        "boosted": rng.random(items) < 0.3,
    }


@given(rule_cases())
@settings(max_examples=200, deadline=None)
def test_lists_are_full_and_respect_every_rule_that_can_be_met(case: dict[str, Any]) -> None:
    rules, k, ranked, in_history = case["rules"], case["k"], case["ranked"], case["in_history"]
    categories = case["categories"]
    names = ("in_history", "categories", "boosted")
    lists = rules.apply(ranked, k, **{name: case[name] for name in names})
    for user, chosen in enumerate(lists):
        available = int((ranked[user] >= 0).sum())
        kept = chosen[chosen >= 0]
        assert len(kept) == len(set(kept)) == min(k, available)
        assert (chosen[len(kept) :] == -1).all() and (kept < available).all()
        new = ~in_history[user, :available]
        min_new = min(math.ceil(rules.new_share * k - 1e-9), int(new.sum()))
        if not rules.per_category:
            assert new[kept].sum() >= min(min_new, len(kept))
        if rules.per_category and not rules.new_share:
            item_categories = categories[ranked[user, :available]]
            allowed = {
                c: min(rules.per_category, int((item_categories == c).sum())) for c in range(3)
            }
            reachable = sum(allowed.values()) + int((item_categories == -1).sum())
            if reachable >= k:
                counts = np.bincount(item_categories[kept][item_categories[kept] >= 0], minlength=3)
                assert (counts <= rules.per_category).all()
