"""Ranking metrics by hand, and against scikit-learn and ranx; top-k selection."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.common.ranking_metrics import (
    average_precision,
    compute_metrics,
    ndcg,
    recall,
    top_k,
)
from batch_predictions.models.recommender.kernels.topk import topk_rows


def test_metrics_by_hand() -> None:
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
def test_ndcg_is_that_of_scikit_learn(seed: int) -> None:
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
def test_top_k_is_a_stable_sort_without_blocked_items(scores: list[list[float]], k: int) -> None:
    expected = []
    for row in scores:
        order = sorted((-score, place) for place, score in enumerate(row) if score > -np.inf)
        expected.append(([place for _, place in order] + [-1] * k)[:k])
    assert top_k(np.array(scores), k).tolist() == expected
    positions = np.empty((len(scores), k), dtype=np.int64)
    values = np.empty((len(scores), k), dtype=np.float32)
    topk_rows(np.array(scores, dtype=np.float32), k, positions, values)
    assert positions.tolist() == expected
    for place, (top, top_scores) in enumerate(zip(positions, values, strict=True)):
        assert top_scores.tolist() == [scores[place][i] if i >= 0 else -np.inf for i in top]


def test_nan_scores_are_never_ranked() -> None:
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


def test_metrics_equal_those_of_ranx() -> None:
    if importlib.util.find_spec("ranx") is None:
        pytest.skip("ranx is not installed")
    rng = np.random.default_rng(0)
    users, items = 60, 80
    truth = rng.random((users, items)) < 0.15
    truth[:, 0] = True
    ranked = top_k(rng.random((users, items)), 20)
    names = ["ndcg@10", "ndcg@20", "recall@20", "map@10", "hit_rate@10"]
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
    for name in ("ndcg@10", "ndcg@20", "recall@20", "hit_rate@10"):
        np.testing.assert_allclose(ours[name], expected[name], atol=1e-9)
    # ranx divides by all relevant items; ours divides by at most k.
    ratio = np.minimum(truth.sum(axis=1), 10) / truth.sum(axis=1)
    np.testing.assert_allclose(ours["map@10"] * ratio, expected["map@10"], atol=1e-9)
