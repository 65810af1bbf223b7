"""Rules of a list: what they hold back, and that they never empty it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.recommender.rules import Rules


def listed(
    rules: Rules,
    k: int,
    categories: list[int],
    known: tuple[int, ...] = (),
    boosted: tuple[int, ...] = (),
    ranked: list[int] | None = None,
) -> list[int]:
    """The list of one user, who is offered item i at place i unless `ranked` says otherwise."""
    ranked = list(range(len(categories))) if ranked is None else ranked
    return rules.apply(
        np.array([ranked]),
        k,
        known=np.array([[item in known for item in ranked]]),
        categories=np.array(categories),
        boosted=np.array([item in boosted for item in range(len(categories))]),
    )[0].tolist()


def test_without_rules_the_ranking_is_the_list():
    assert listed(Rules(), 3, [0] * 5, known=(0, 1), boosted=(4,)) == [0, 1, 2]


def test_no_more_than_the_cap_of_one_category():
    assert listed(Rules(per_category=2), 4, [0, 0, 0, 1, 0, 2]) == [0, 1, 3, 5]
    # Items without a category are not capped.
    assert listed(Rules(per_category=1), 4, [-1, 0, -1, 0, -1]) == [0, 1, 2, 4]


def test_what_the_cap_held_back_fills_the_list_up_in_rank_order():
    assert listed(Rules(per_category=1), 4, [0, 0, 0, 1]) == [0, 3, 1, 2]


def test_at_least_the_share_of_the_list_is_new():
    # Two of four: the last two places are kept for what is new.
    assert listed(Rules(new_share=0.5), 4, [0] * 6, known=(0, 1, 2, 3)) == [0, 1, 4, 5]
    # There are enough new ones at the top.
    assert listed(Rules(new_share=0.5), 4, [0] * 6, known=(2, 3)) == [0, 1, 2, 3]
    # A third of four is two, not one.
    assert listed(Rules(new_share=1 / 3), 4, [0] * 6, known=(0, 1, 2, 3)) == [0, 1, 4, 5]
    assert listed(Rules(new_share=1.0), 2, [0] * 4, known=(0, 2)) == [1, 3]


def test_where_too_little_is_new_known_items_fill_up():
    assert listed(Rules(new_share=1.0), 4, [0] * 5, known=(0, 1, 2, 4)) == [0, 1, 2, 3]
    assert listed(Rules(new_share=1.0), 2, [0] * 2, known=(0, 1)) == [0, 1]


def test_boosted_items_move_up_so_many_places():
    assert listed(Rules(boost_places=2), 5, [0] * 5, boosted=(3,)) == [0, 3, 1, 2, 4]
    # The boosted keep their order among each other, and none falls off the top.
    assert listed(Rules(boost_places=9), 5, [0] * 5, boosted=(2, 4)) == [2, 4, 0, 1, 3]


def test_rules_hold_together():
    rules = Rules(per_category=1, new_share=0.5, boost_places=3)
    # 3 moves to the top and takes category 1; the other place is for what is new, 2, but its
    # category is full. The second round then fills up with the next best by rank.
    assert listed(rules, 2, [0, 0, 1, 1], known=(0, 1, 3), boosted=(3,)) == [3, 0]
    # With something new of another category all rules hold.
    assert listed(rules, 2, [0, 0, 1, 1, 2], known=(0, 1, 3), boosted=(3,)) == [3, 4]


def test_short_rankings_give_short_lists():
    assert listed(Rules(), 4, [0, 0, 0], ranked=[2, 0, -1]) == [0, 1, -1, -1]
    assert listed(Rules(per_category=1), 2, [0], ranked=[-1]) == [-1, -1]


def test_no_users_and_no_items_are_fine():
    nothing: Any = np.empty((0, 3), dtype=np.int64)
    none, few = np.empty((0, 3), dtype=bool), np.empty(0, dtype=np.int64)
    out = Rules().apply(nothing, 2, known=none, categories=few, boosted=np.empty(0, dtype=bool))
    assert out.shape == (0, 2)


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    items, users = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    ranked = np.stack([random.permutation(items) for _ in range(users)])
    for row in ranked:
        row[int(random.integers(0, items + 1)) :] = -1
    return {
        "rules": Rules(
            draw(st.integers(0, 3)),
            draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])),
            draw(st.integers(0, 4)),
        ),
        "k": draw(st.integers(1, 15)),
        "ranked": ranked,
        "known": random.random(ranked.shape) < 0.5,
        "categories": random.integers(-1, 3, items),
        "boosted": random.random(items) < 0.3,
    }


@given(worlds())
@settings(max_examples=200, deadline=None)
def test_a_list_is_as_long_as_it_can_be_and_keeps_what_rules_can_be_kept(world: dict[str, Any]):
    rules, k, ranked, known = world["rules"], world["k"], world["ranked"], world["known"]
    categories = world["categories"]
    names = ("known", "categories", "boosted")
    lists = rules.apply(ranked, k, **{name: world[name] for name in names})
    for user, chosen in enumerate(lists):
        there = int((ranked[user] >= 0).sum())
        kept = chosen[chosen >= 0]
        assert len(kept) == len(set(kept)) == min(k, there)
        assert (chosen[len(kept) :] == -1).all() and (kept < there).all()
        new = ~known[user, :there]
        wanted = min(math.ceil(rules.new_share * k - 1e-9), int(new.sum()))
        if not rules.per_category:
            assert new[kept].sum() >= min(wanted, len(kept))
        if rules.per_category and not rules.new_share:
            of = categories[ranked[user, :there]]
            most = {c: min(rules.per_category, int((of == c).sum())) for c in range(3)}
            room = sum(most.values()) + int((of == -1).sum())
            if room >= k:
                counts = np.bincount(of[kept][of[kept] >= 0], minlength=3)
                assert (counts <= rules.per_category).all()
