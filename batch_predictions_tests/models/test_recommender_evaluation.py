"""Measures against hand and against scikit-learn; hold-outs that look nowhere ahead."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.ranking import average_precision, ndcg, recall, top_k
from batch_predictions.models.recommender.data import Interactions
from batch_predictions.models.recommender.ease import EASE
from batch_predictions.models.recommender.evaluation import (
    Holdout,
    bootstrap_interval,
    evaluate,
    hold_out,
    leave_out,
    paired_difference,
    split_by_time,
)
from batch_predictions.models.recommender.popularity import Popularity

CUT = date(2024, 1, 10)
BEFORE, AFTER = date(2024, 1, 9), date(2024, 1, 12)


def table(*rows: tuple[str, str, date, int]) -> pa.Table:
    return pa.table(
        {
            name: [row[place] for row in rows]
            for place, name in enumerate(("user_id", "item_id", "date", "events"))
        }
    )


ROWS = Interactions.from_table(
    table(
        ("ann", "a", BEFORE, 5),
        ("ann", "b", BEFORE, 3),
        ("bob", "b", BEFORE, 1),
        ("cat", "c", BEFORE, 1),
        ("ann", "b", AFTER, 1),
        ("ann", "c", AFTER, 2),
        ("bob", "new", AFTER, 1),
        ("cat", "c", AFTER, 1),
        ("dan", "a", AFTER, 1),
    )
)


def measured(holdout: Holdout) -> Any:
    return evaluate(Popularity.fit(holdout.train, holdout.as_of), holdout)


def test_measures_by_hand():
    hits = np.array([[True, False, True, False], [False, False, False, True]])
    relevant = np.array([2, 6])
    ideal = 1 + 1 / np.log2(3)
    assert ndcg(hits, relevant)[0] == pytest.approx((1 + 1 / np.log2(4)) / ideal)
    assert recall(hits, relevant).tolist() == [1.0, pytest.approx(1 / 6)]
    assert average_precision(hits, relevant).tolist() == [
        pytest.approx((1 / 1 + 2 / 3) / 2),
        pytest.approx((1 / 4) / 4),
    ]


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_ndcg_is_that_of_scikit_learn(seed: int):
    from sklearn.metrics import ndcg_score

    random = np.random.default_rng(seed)
    scores = random.permutation(40).astype(np.float64)[np.newaxis]
    truth = random.random((1, 40)) < 0.2
    truth[0, 0] = True
    hits = truth[0][top_k(scores, 10)]
    assert ndcg(hits, truth.sum(axis=1))[0] == pytest.approx(ndcg_score(truth, scores, k=10))


@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 1.0, 2.0, -np.inf]), min_size=6, max_size=6),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 8),
)
def test_top_k_is_a_stable_sort_that_leaves_out_the_barred(scores: list[list[float]], k: int):
    expected = []
    for row in scores:
        order = sorted((-score, place) for place, score in enumerate(row) if score > -np.inf)
        expected.append(([place for _, place in order] + [-1] * k)[:k])
    assert top_k(np.array(scores), k).tolist() == expected


def test_users_known_before_the_cut_and_active_after_it_count():
    holdout = split_by_time(ROWS, cut=CUT, exclude_seen=False)
    evaluation = measured(holdout)
    assert evaluation.n == 3 and evaluation.split == "time"
    # Popularity before the cut: a 5, b 4, c 1. Ann took b and c, bob something new, cat c.
    ideal = 1 + 1 / np.log2(3)
    expected = [(1 / np.log2(3) + 1 / np.log2(4)) / ideal, 0.0, 1 / np.log2(4)]
    assert evaluation.per_user["ndcg@10"] == pytest.approx(expected)
    assert evaluation.per_user["recall@20"].tolist() == [1.0, 0.0, 1.0]
    assert evaluation.coverage == 1.0


def test_seen_items_are_neither_offered_nor_right():
    holdout = split_by_time(ROWS, cut=CUT, exclude_seen=True)
    evaluation = measured(holdout)
    # Cat took only c, which it had; it has nothing to be right about.
    assert evaluation.n == 2 and holdout.without_new == 1
    # Ann has a and b, so c is her first; b is no answer any more.
    assert evaluation.per_user["ndcg@10"].tolist() == [1.0, 0.0]


def test_rows_of_one_date_are_split_by_user_and_the_result_says_so():
    rows = [(f"u{u}", f"i{i}", BEFORE, 1) for u in range(4) for i in range(u * 4 + 1)]
    interactions = Interactions.from_table(table(*rows))
    holdout = hold_out(interactions, through=AFTER, holdout_days=7, exclude_seen=False, seed=1)
    assert holdout.split == "leave_out" and holdout.masked
    # u0 has one item and keeps it; the others give a fifth of theirs, at least one.
    assert np.diff(holdout.relevant.indptr).tolist() == [1, 1, 2]
    again = leave_out(interactions, as_of=AFTER, seed=1)
    other = leave_out(interactions, as_of=AFTER, seed=2)
    assert (holdout.relevant != again.relevant).nnz == 0
    assert (
        holdout.relevant.shape != other.relevant.shape or (holdout.relevant != other.relevant).nnz
    )
    assert evaluate(Popularity.fit(holdout.train, AFTER), holdout).split == "leave_out"


def test_a_large_hold_out_is_measured_on_a_seeded_sample():
    holdout = split_by_time(ROWS, cut=CUT, exclude_seen=False, max_users=2, seed=4)
    assert measured(holdout).n == 2


def test_intervals_hold_the_mean_and_come_again():
    values = np.random.default_rng(0).normal(1.0, 1.0, 400)
    first, again = bootstrap_interval(values, seed=7), bootstrap_interval(values, seed=7)
    assert first == again
    assert first.lower < first.mean < first.upper
    # The percentile interval of a mean is about the normal one.
    assert first.upper - first.lower == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert np.isnan(bootstrap_interval(np.empty(0), seed=0).mean)


def test_paired_differences_are_narrower_than_the_users_differ():
    taste = np.random.default_rng(0).random(200)
    gain = paired_difference(taste + 0.01, taste, seed=0)
    assert (gain.lower, gain.upper) == (pytest.approx(0.01), pytest.approx(0.01))
    with pytest.raises(ValueError, match="same users"):
        paired_difference(taste, taste[1:], seed=0)


def test_metric_rows_hold_their_values():
    rows = measured(split_by_time(ROWS, cut=CUT, exclude_seen=False)).rows(seed=0)
    assert [row["metric"] for row in rows] == [
        "ndcg@10",
        "recall@20",
        "map@10",
        "coverage@10",
    ]
    for row in rows[:3]:
        assert row["lower"] <= row["value"] <= row["upper"] and row["n"] == 3
    assert rows[3]["lower"] is None


def test_histories_are_weighted_as_the_model_was_trained():
    """An old habit and a new one: with a half-life the new one speaks louder."""
    old, new = date(2023, 10, 1), BEFORE
    rows = [("ann", "old", old, 1), ("ann", "old2", old, 1)]
    rows += [("ann", "new", new, 1), ("ann", "new2", new, 1)]
    rows += [(f"u{i}", item, new, 1) for i in range(5) for item in ("old", "old2")]
    rows += [(f"v{i}", item, new, 1) for i in range(5) for item in ("new", "new2")]
    rows += [("ann", "new", AFTER, 1)]
    holdout = split_by_time(Interactions.from_table(table(*rows)), cut=CUT, exclude_seen=False)
    scores = {}
    for days in (None, 10.0):
        model = EASE.fit(holdout.train, CUT, l2=1.0, history_half_life_days=days)
        assert model.history_half_life_days == days
        scores[days] = evaluate(model, holdout).per_user["ndcg@10"][0]
    assert scores[10.0] > scores[None] - 1e-9
    weighted = holdout.train.decayed(10.0, CUT)
    assert weighted.events.min() < 0.01 and weighted.matrix().nnz == holdout.train.matrix().nnz
    assert holdout.train.decayed(None, CUT) is holdout.train
