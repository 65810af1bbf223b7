"""Hold-outs without leakage, and metrics of a model on them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.common.bootstrap import bootstrap_interval, paired_difference
from batch_predictions.models.common.ranking_metrics import (
    average_precision,
    compute_metrics,
    ndcg,
    recall,
    top_k,
)
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.splits import (
    Holdout,
    hold_out,
    leave_last_out,
    leave_out,
    split_by_time,
    split_newest,
)
from batch_predictions.models.recommender.evaluation import Evaluation, evaluate
from batch_predictions.models.recommender.generators.ease import EASE, EASEParams
from batch_predictions.models.recommender.generators.popularity import Popularity
from batch_predictions.models.recommender.generators.segment_popularity import (
    SegmentPopularity,
    SegmentPopularityParams,
)
from batch_predictions.models.recommender.generators.user_frequency import UserFrequency
from batch_predictions.models.recommender.kernels.topk import topk_rows

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


def evaluate_popularity(holdout: Holdout) -> Evaluation:
    model = Popularity.fit(holdout.train, holdout.as_of)
    return evaluate(
        model, holdout, ItemFeatures.from_interactions(holdout.train, holdout.as_of, model.items)
    )


def test_metrics_by_hand():
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

    rng = np.random.default_rng(seed)
    scores = rng.permutation(40).astype(np.float64)[np.newaxis]
    truth = rng.random((1, 40)) < 0.2
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
@settings(deadline=None)
def test_top_k_is_a_stable_sort_without_blocked_items(scores: list[list[float]], k: int):
    expected = []
    for row in scores:
        order = sorted((-score, place) for place, score in enumerate(row) if score > -np.inf)
        expected.append(([place for _, place in order] + [-1] * k)[:k])
    assert top_k(np.array(scores), k).tolist() == expected
    positions = np.empty((len(scores), k), dtype=np.int64)
    values = np.empty((len(scores), k), dtype=np.float32)
    topk_rows(np.array(scores, dtype=np.float32), k, positions, values)
    assert positions.tolist() == expected
    for row, (top, top_scores) in enumerate(zip(positions, values, strict=True)):
        assert top_scores.tolist() == [scores[row][i] if i >= 0 else -np.inf for i in top]


def test_nan_scores_are_never_ranked():
    scores = np.array([[np.nan, 1.0, -np.inf, 2.0, np.nan]], dtype=np.float32)
    positions, values = np.empty((1, 3), dtype=np.int64), np.empty((1, 3), dtype=np.float32)
    topk_rows(scores, 3, positions, values)
    assert positions.tolist() == [[3, 1, -1]] and values.tolist() == [[2.0, 1.0, -np.inf]]


RANX_SCRIPT = """
import json, sys
from ranx import Qrels, Run, evaluate
truth, run, names = json.load(sys.stdin)
values = evaluate(Qrels(truth), Run(run), names, return_mean=False)
print(json.dumps({name: [float(value) for value in values[name]] for name in names}))
"""


def test_metrics_equal_those_of_ranx():
    if importlib.util.find_spec("ranx") is None:
        pytest.skip("ranx is not installed")
    rng = np.random.default_rng(0)
    users, items = 60, 80
    truth = rng.random((users, items)) < 0.15
    truth[:, 0] = True
    ranked = top_k(rng.random((users, items)), 20)
    names = ["ndcg@10", "recall@20", "map@10"]
    qrels_and_run = [
        {f"u{u:02}": {f"i{i}": 1 for i in np.flatnonzero(truth[u])} for u in range(users)},
        {f"u{u:02}": {f"i{i}": 20.0 - at for at, i in enumerate(ranked[u])} for u in range(users)},
        names,
    ]
    # As plain Python: compiling ranx would take a minute.
    answer = subprocess.run(
        [sys.executable, "-c", RANX_SCRIPT],
        input=json.dumps(qrels_and_run),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = {name: np.array(v) for name, v in json.loads(answer.stdout).items()}
    ours = compute_metrics(np.take_along_axis(truth, ranked, axis=1), truth.sum(axis=1))
    for name in ("ndcg@10", "recall@20"):
        np.testing.assert_allclose(ours[name], expected[name], atol=1e-9)
    # ranx divides by all relevant items; ours divides by at most k.
    ratio = np.minimum(truth.sum(axis=1), 10) / truth.sum(axis=1)
    np.testing.assert_allclose(ours["map@10"] * ratio, expected["map@10"], atol=1e-9)


def test_users_with_rows_before_and_after_the_cut_are_evaluated():
    holdout = split_by_time(ROWS, cut=CUT, exclude_seen=False)
    evaluation = evaluate_popularity(holdout)
    assert evaluation.n == 3 and evaluation.split == "time"
    # Popularity before the cut: a 5, b 4, c 1. Ann took b and c, bob something new, cat c.
    ideal = 1 + 1 / np.log2(3)
    expected = [(1 / np.log2(3) + 1 / np.log2(4)) / ideal, 0.0, 1 / np.log2(4)]
    assert evaluation.per_user["ndcg@10"] == pytest.approx(expected)
    assert evaluation.per_user["recall@20"].tolist() == [1.0, 0.0, 1.0]
    assert evaluation.coverage == 1.0


def test_seen_items_are_neither_recommended_nor_relevant():
    holdout = split_by_time(ROWS, cut=CUT, exclude_seen=True)
    evaluation = evaluate_popularity(holdout)
    # Cat took only c, which it had before: it has no relevant item.
    assert evaluation.n == 2 and holdout.users_without_new == 1
    # Ann has a and b, so c is ranked first for her, and b is not relevant.
    assert evaluation.per_user["ndcg@10"].tolist() == [1.0, 0.0]


def test_rows_of_one_date_are_split_by_user_and_the_result_says_so():
    rows = [(f"u{u}", f"i{i}", BEFORE, 1) for u in range(4) for i in range(u * 4 + 1)]
    interactions = Interactions.from_table(table(*rows))
    holdout = hold_out(interactions, through=AFTER, holdout_days=7, exclude_seen=False, seed=1)
    assert holdout.split == "leave_out" and holdout.masks_seen
    # u0 has one item and keeps it; the others give a fifth of theirs, at least one.
    assert np.diff(holdout.relevant.indptr).tolist() == [1, 1, 2]
    again = leave_out(interactions, as_of=AFTER, seed=1)
    other = leave_out(interactions, as_of=AFTER, seed=2)
    assert (holdout.relevant != again.relevant).nnz == 0
    assert (
        holdout.relevant.shape != other.relevant.shape or (holdout.relevant != other.relevant).nnz
    )
    assert evaluate_popularity(holdout).split == "leave_out"


def test_split_newest_orders_rows_by_time_of_day():
    # Ten rows on two days, two of them at one moment; ann and bob came before, cat afterwards.
    rows = [("ann", f"i{n}", BEFORE, 1) for n in range(4)]
    rows += [("bob", f"i{n}", AFTER, 1) for n in range(3)]
    rows += [("ann", "i7", AFTER, 1), ("bob", "i8", AFTER, 1), ("cat", "i9", AFTER, 1)]
    times = [9, 8, 7, 6, 1, 2, 3, 4, 4, 5]
    interactions = Interactions.from_table(
        table(*rows).append_column("event_time", pa.array(times))
    )
    holdout = split_newest(interactions, 0.3, exclude_seen=True)
    assert (holdout.split, holdout.as_of, len(holdout.train)) == ("time", AFTER, 7)
    users = [holdout.train.user_ids[int(user)].as_py() for user in holdout.users]
    hidden = [[holdout.item_ids[int(i)].as_py() for i in row.indices] for row in holdout.relevant]
    assert dict(zip(users, hidden, strict=True)) == {"ann": ["i7"], "bob": ["i8"]}
    # What happened at one moment stays on one side: a fifth would cut between i7 and i8.
    assert len(split_newest(interactions, 0.2, exclude_seen=True).train) == 7
    assert len(split_newest(interactions, 0.1, exclude_seen=True).train) == 9
    # Without the time of day a day stays on one side.
    by_day = split_newest(Interactions.from_table(table(*rows)), 0.3, exclude_seen=True)
    assert (by_day.as_of, len(by_day.train)) == (BEFORE, 4)
    assert evaluate_popularity(by_day).n == 1


def test_leave_last_out_orders_items_by_time_of_day():
    # u0 took 20 items on one day, from the last to the first, and the first one again at the end.
    times = [*range(20, 0, -1), 30]
    rows = [("u0", f"i{i:02}", BEFORE, 1) for i in [*range(20), 19]]
    rows += [("u1", f"i{i:02}", day, 1) for i, day in enumerate([AFTER, *[BEFORE] * 9])]
    rows += [("u2", f"i{i:02}", BEFORE, 1) for i in range(9)]
    interactions = table(*rows).append_column("event_time", pa.array([*times, *range(19)]))
    holdout = leave_last_out(Interactions.from_table(interactions), as_of=AFTER)
    users = [holdout.train.user_ids[int(user)].as_py() for user in holdout.users]
    hidden = [[holdout.item_ids[int(i)].as_py() for i in row.indices] for row in holdout.relevant]
    # A tenth of 20 and of 10 items; u2 has too few. Item 19 was first taken long before.
    assert dict(zip(users, hidden, strict=True)) == {"u0": ["i00", "i01"], "u1": ["i00"]}
    assert holdout.split == "leave_newest" and holdout.masks_seen
    assert len(holdout.train) == len(rows) - 3
    # Without the time of day the day decides.
    by_day = leave_last_out(Interactions.from_table(table(*rows)), as_of=AFTER)
    assert {len(row.indices) for row in by_day.relevant} == {1, 2}
    assert evaluate_popularity(by_day).n == 2


def test_a_large_holdout_is_evaluated_on_a_seeded_sample():
    holdout = split_by_time(ROWS, cut=CUT, exclude_seen=False, max_users=2, seed=4)
    assert evaluate_popularity(holdout).n == 2


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
    with pytest.raises(ValueError, match="same units"):
        paired_difference(taste, taste[1:], seed=0)


def test_metric_rows_hold_their_values():
    rows = evaluate_popularity(split_by_time(ROWS, cut=CUT, exclude_seen=False)).rows(seed=0)
    assert [row["metric"] for row in rows] == [
        "ndcg@10",
        "recall@20",
        "map@10",
        "novelty@10",
        "coverage@10",
    ]
    for row in rows[:4]:
        assert row["lower"] <= row["value"] <= row["upper"] and row["n"] == 3
    assert rows[4]["lower"] is None


def test_novelty_is_the_mean_self_information_of_recommended_items():
    # Of the four (item, user) pairs before the cut one is of a, two of b, one of c: 2, 1, 2 bits.
    evaluation = evaluate_popularity(split_by_time(ROWS, cut=CUT, exclude_seen=False))
    assert evaluation.per_user["novelty@10"] == pytest.approx([5 / 3] * 3)
    masked = evaluate_popularity(split_by_time(ROWS, cut=CUT, exclude_seen=True))
    # Ann gets c, bob a and c.
    assert masked.per_user["novelty@10"] == pytest.approx([2.0, 2.0])


def test_an_evaluation_keeps_its_values_under_another_name():
    evaluation = evaluate_popularity(split_by_time(ROWS, cut=CUT, exclude_seen=False))
    renamed = evaluation.renamed("other")
    assert renamed.candidate == "other" and evaluation.candidate == "popularity"
    assert renamed.per_user is evaluation.per_user
    assert {row["candidate"] for row in renamed.rows(seed=0)} == {"other"}


def test_a_model_of_fewer_items_misses_the_others():
    """EASE here knows a and b only; c, which ann and cat took, counts as missed."""
    holdout = split_by_time(ROWS, cut=CUT, exclude_seen=False)
    model = EASE.fit(holdout.train, CUT, EASEParams(max_items=2))
    evaluation = evaluate(
        model, holdout, ItemFeatures.from_interactions(holdout.train, CUT, model.items)
    )
    assert evaluation.per_user["recall@20"].tolist() == [0.5, 0.0, 0.0]
    assert evaluation.coverage == pytest.approx(2 / 3)


def test_a_user_with_an_empty_list_counts():
    holdout = split_by_time(ROWS, cut=CUT, exclude_seen=True)
    model = UserFrequency.fit(holdout.train, CUT)
    evaluation = evaluate(
        model, holdout, ItemFeatures.from_interactions(holdout.train, CUT, model.items)
    )
    assert evaluation.n == 2 and evaluation.coverage == 0.0
    assert all((values == 0).all() for values in evaluation.per_user.values())


def test_user_traits_reach_the_model():
    holdout = split_by_time(ROWS, cut=CUT, exclude_seen=False)
    users = pa.table(
        {
            "user_id": ["cat", "ann", "bob"],
            "age_bracket": pa.nulls(3, pa.string()),
            "gender": pa.nulls(3, pa.string()),
            "location": ["south", "north", "north"],
        }
    )
    model = SegmentPopularity.fit(
        holdout.train, CUT, SegmentPopularityParams(min_users=1, kappa=1e-3), users
    )
    item_features = ItemFeatures.from_interactions(holdout.train, CUT, model.items)
    evaluation = evaluate(model, holdout, item_features, users)
    # Users of cat's location take only c, which is relevant.
    assert evaluation.per_user["ndcg@10"][2] == 1.0
    assert (evaluate(model, holdout, item_features).per_user["ndcg@10"] == 0).all()


def test_histories_are_weighted_as_the_model_was_trained():
    """With a half-life recent events weigh more than old ones."""
    old, new = date(2023, 10, 1), BEFORE
    rows = [("ann", "old", old, 2), ("ann", "new", new, 1)]
    rows += [(f"u{i}", item, new, 1) for i in range(5) for item in ("old", "old2")]
    rows += [(f"v{i}", item, new, 1) for i in range(5) for item in ("new", "new2")]
    rows += [("ann", "new2", AFTER, 1)]
    holdout = split_by_time(Interactions.from_table(table(*rows)), cut=CUT, exclude_seen=True)
    scores = {}
    for days in (None, 10.0):
        model = EASE.fit(holdout.train, CUT, EASEParams(l2=1.0, history_half_life_days=days))
        assert model.history_half_life_days == days
        item_features = ItemFeatures.from_interactions(holdout.train, CUT, model.items)
        scores[days] = evaluate(model, holdout, item_features).per_user["ndcg@10"][0]
    assert scores[10.0] == 1.0 > scores[None]
    weighted = holdout.train.with_decayed_events(10.0, CUT)
    assert weighted.events.min() < 0.01 and weighted.matrix().nnz == holdout.train.matrix().nnz
    assert holdout.train.with_decayed_events(None, CUT) is holdout.train
