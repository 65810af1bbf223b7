"""Business rules of a list: what each holds back, and that lists are never shortened."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.recommender.business_rules import MIN_DEPTH_WITH_LIMITS, Rules


def build_list(
    k: int,
    groups: list[int],
    limit: int | None = None,
    new_share: float = 0.0,
    in_history: tuple[int, ...] = (),
    boost: dict[int, int] | None = None,
    ranked: list[int] | None = None,
) -> list[int]:
    """The list of one user; without `ranked`, item i has rank i. `groups` are of one limit."""
    ranked = list(range(len(groups))) if ranked is None else ranked
    rules = Rules(
        np.array([(boost or {}).get(item, 0) for item in range(len(groups))]),
        np.array(groups)[:, np.newaxis][:, : int(limit is not None)],
        () if limit is None else (limit,),
        new_share,
    )
    is_old = np.array([[item in in_history for item in ranked]])
    return rules.apply(np.array([ranked]), k, is_old)[0].tolist()


def test_without_rules_the_ranking_is_the_list() -> None:
    assert build_list(3, [0] * 5, in_history=(0, 1)) == [0, 1, 2]


def test_no_more_than_the_limit_of_one_group() -> None:
    assert build_list(4, [0, 0, 0, 1, 0, 2], limit=2) == [0, 1, 3, 5]
    # Items without a group are not limited.
    assert build_list(4, [-1, 0, -1, 0, -1], limit=1) == [0, 1, 2, 4]


def test_items_beyond_the_limit_fill_a_short_list_in_rank_order() -> None:
    assert build_list(4, [0, 0, 0, 1], limit=1) == [0, 3, 1, 2]


def test_at_least_the_share_of_the_list_is_new() -> None:
    # Two of four: the last two places are kept for what is new.
    assert build_list(4, [0] * 6, new_share=0.5, in_history=(0, 1, 2, 3)) == [0, 1, 4, 5]
    # There are enough new ones at the top.
    assert build_list(4, [0] * 6, new_share=0.5, in_history=(2, 3)) == [0, 1, 2, 3]
    # A third of four is two, not one.
    assert build_list(4, [0] * 6, new_share=1 / 3, in_history=(0, 1, 2, 3)) == [0, 1, 4, 5]
    assert build_list(2, [0] * 4, new_share=1.0, in_history=(0, 2)) == [1, 3]


def test_seen_items_fill_up_where_too_few_are_new() -> None:
    assert build_list(4, [0] * 5, new_share=1.0, in_history=(0, 1, 2, 4)) == [0, 1, 2, 3]
    assert build_list(2, [0] * 2, new_share=1.0, in_history=(0, 1)) == [0, 1]


def test_boosted_items_move_by_their_places() -> None:
    assert build_list(5, [0] * 5, boost={3: 2}) == [0, 3, 1, 2, 4]
    # The boosted keep their order among each other, and none falls off the top.
    assert build_list(5, [0] * 5, boost={2: 9, 4: 9}) == [2, 4, 0, 1, 3]
    # A negative boost moves down, behind the item whose place it takes.
    assert build_list(5, [0] * 5, boost={0: -2}) == [1, 2, 0, 3, 4]
    assert build_list(3, [0] * 5, boost={0: -9, 1: -9}) == [2, 3, 4]


def test_rules_are_applied_together() -> None:
    rules: dict[str, Any] = {"limit": 1, "new_share": 0.5, "in_history": (0, 1, 3)}
    # 3 moves to the top and takes group 1; the other place is for what is new, 2, but its group
    # is full. The second round then fills up with the next best by rank.
    assert build_list(2, [0, 0, 1, 1], **rules, boost={3: 3}) == [3, 0]
    # With something new of another group all rules hold.
    assert build_list(2, [0, 0, 1, 1, 2], **rules, boost={3: 3}) == [3, 4]


def test_short_rankings_give_short_lists() -> None:
    assert build_list(4, [0, 0, 0], ranked=[2, 0, -1]) == [0, 1, -1, -1]
    assert build_list(2, [0], limit=1, ranked=[-1]) == [-1, -1]


RULE_ROWS = pa.table(
    {
        "item_id": ["milk", "oat milk", "bread", "cake"],
        "boost": pa.array([0, 0, 2, -1], pa.int32()),
        "groups": [["Own", "Milk"], ["Oatly", "Milk"], ["Own", None], [None, None]],
    }
)


def test_several_limits_are_read_from_the_rows_of_items() -> None:
    items = pa.array(["cake", "bread", "salt", "milk", "oat milk"])
    rules = Rules.from_table(RULE_ROWS, items, [2, 1])
    assert rules.boost.tolist() == [-1, 2, 0, 0, 0]
    own, oatly = rules.groups[1, 0], rules.groups[4, 0]
    assert rules.groups[:, 0].tolist() == [-1, own, -1, own, oatly]
    assert rules.groups[:, 1].tolist() == [-1, -1, -1, rules.groups[4, 1], rules.groups[4, 1]]
    # Of both kinds of milk only the first, and of three own products two.
    ranked = np.array([[3, 4, 1, 2, 0]])
    names = [items[position].as_py() for position in ranked[0][rules.apply(ranked, 3)[0]]]
    assert names == ["bread", "milk", "salt"]
    assert rules.depth(3) == MIN_DEPTH_WITH_LIMITS
    assert Rules.from_table(RULE_ROWS.slice(0, 0), items, []).depth(3) == 3
    no_limits = RULE_ROWS.set_column(2, "groups", pa.array([[]] * 4, pa.list_(pa.string())))
    assert Rules.from_table(no_limits, items, []).depth(3) == 5


def test_rows_of_other_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="materialize it again"):
        Rules.from_table(RULE_ROWS, pa.array(["milk"]), [2])


def test_a_list_is_filled_up_with_what_the_limits_allow_first() -> None:
    rules = Rules.from_table(RULE_ROWS, pa.array(["milk"]), [2, 1])
    candidates = ["oat milk", "bread", "salt"]
    assert rules.fill_up(["milk"], iter(candidates), 2) == ["bread", "salt"]
    assert rules.fill_up(["milk"], iter(candidates), 3) == ["bread", "salt", "oat milk"]
    assert rules.fill_up([], iter(["milk", *candidates]), 2) == ["milk", "bread"]


@st.composite
def rule_cases(draw: st.DrawFn) -> dict[str, Any]:
    items, users = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    ranked = np.stack([rng.permutation(items) for _ in range(users)])
    for row in ranked:
        row[int(rng.integers(0, items + 1)) :] = -1
    limits = draw(st.lists(st.integers(1, 3), max_size=2))
    rules = Rules(
        rng.integers(-1, 5, items) * (rng.random(items) < 0.3),
        rng.integers(-1, 3, (items, len(limits))),
        tuple(limits),
        draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])),
    )
    return {
        "rules": rules,
        "k": draw(st.integers(1, 15)),
        "ranked": ranked,
        "in_history": rng.random(ranked.shape) < 0.5,
    }


@given(rule_cases())
@settings(max_examples=200, deadline=None)
def test_lists_are_full_and_respect_every_rule_that_can_be_met(case: dict[str, Any]) -> None:
    rules, k, ranked, in_history = case["rules"], case["k"], case["ranked"], case["in_history"]
    lists = rules.apply(ranked, k, in_history)
    for user, chosen in enumerate(lists):
        available = int((ranked[user] >= 0).sum())
        kept = chosen[chosen >= 0]
        assert len(kept) == len(set(kept)) == min(k, available)
        assert (chosen[len(kept) :] == -1).all() and (kept < available).all()
        new = ~in_history[user, :available]
        min_new = min(math.ceil(rules.new_share * k - 1e-9), int(new.sum()))
        if not rules.limits:
            assert new[kept].sum() >= min(min_new, len(kept))
        if len(rules.limits) == 1 and not rules.new_share:
            (limit,) = rules.limits
            groups = rules.groups[ranked[user, :available], 0]
            reachable = sum(min(limit, int((groups == group).sum())) for group in range(3))
            if reachable + int((groups == -1).sum()) >= k:
                counts = np.bincount(groups[kept][groups[kept] >= 0], minlength=3)
                assert (counts <= limit).all()
