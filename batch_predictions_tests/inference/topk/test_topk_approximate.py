"""Approximate top-k: known answers, exact scores, whole lists, the same whatever stands around."""

from __future__ import annotations

import sys
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from batch_predictions.inference.topk import Index, recall
from batch_predictions.inference.topk.arrays import Floats

pytest.importorskip("faiss", reason="faiss is not installed: pip install -e '.[ann]'")


def topics(
    users: int, items: int, number: int, spread: float, f: int = 24, seed: int = 1
) -> tuple[Floats, Floats]:
    """Users and items around the same centres, the planted structure that cells find."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((number, f))
    return tuple(
        (centres[random.integers(0, number, n)] + spread * random.standard_normal((n, f))).astype(
            np.float32
        )
        for n in (users, items)
    )  # type: ignore[return-value]


def test_a_planted_structure_is_found_with_a_few_of_many_cells():
    queries, targets = topics(200, 20_000, 100, 0.3)
    exact = Index(targets)
    few = Index(targets, cells=16)
    assert few.elsewhere is not None and few.elsewhere.cells.lists.nlist == 500
    found = few.search(queries, 20)
    assert recall(found[0], exact.search(queries, 20)[0]) > 0.99
    one = Index(targets, cells=1).search(queries, 20)
    assert recall(one[0], exact.search(queries, 20)[0]) < 0.9


def test_all_cells_give_the_exact_answer_to_the_bit():
    queries, targets = topics(50, 3000, 30, 0.5)
    seen = csr_matrix(np.random.default_rng(2).random((50, 3000)) < 0.1)
    blocked = np.random.default_rng(3).random(3000) < 0.2
    expected = Index(targets, blocked=blocked).search(queries, 30, seen=seen)
    found = Index(targets, blocked=blocked, cells=10_000).search(queries, 30, seen=seen)
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1].tobytes() == expected[1].tobytes()


@budget(max_examples=40, deadline=None)
@given(
    m=st.integers(1, 3000),
    k=st.integers(1, 60),
    cells=st.integers(1, 8),
    seen_share=st.sampled_from([0.0, 0.05, 0.95]),
    blocked_share=st.sampled_from([0.0, 0.5, 1.0]),
    cap=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_no_list_is_short_and_every_score_and_filter_is_exact(
    m: int, k: int, cells: int, seen_share: float, blocked_share: float, cap: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    queries, targets = topics(20, m, 10, 0.5, seed=seed)
    queries[random.random(20) < 0.1] = 0
    seen = csr_matrix(random.random((20, m)) < seen_share)
    blocked = random.random(m) < blocked_share
    categories = random.integers(-1, 8, m)
    filters: dict[str, Any] = {
        "blocked": blocked, "categories": categories, "per_category": cap,
    }  # fmt: skip
    positions, scores = Index(targets, cells=cells, **filters).search(queries, k, seen=seen)
    exact = Index(targets, **filters).search(queries, k, seen=seen)
    assert ((positions >= 0).sum(axis=1) == (exact[0] >= 0).sum(axis=1)).all()
    for user, places in enumerate(positions):
        places = places[places >= 0]
        assert len(set(places)) == len(places)
        assert not blocked[places].any() and not seen[user, places].nnz
        if cap:
            named = categories[places][categories[places] >= 0]
            assert np.bincount(named, minlength=1).max() <= cap
        own = targets[places].astype(np.float64) @ queries[user].astype(np.float64)
        np.testing.assert_allclose(scores[user, : len(places)], own, rtol=1e-6, atol=1e-9)
        assert (np.diff(scores[user, : len(places)]) <= 0).all()


def test_a_user_has_the_same_bits_whatever_batch_threads_and_build():
    queries, targets = topics(300, 5000, 50, 0.8)
    seen = csr_matrix(np.random.default_rng(4).random((300, 5000)) < 0.02)
    index = Index(targets, cells=4)
    positions, scores = index.search(queries, 15, seen=seen, threads=1)
    two = Index(targets.copy(), cells=4).search(queries, 15, seen=seen, threads=2)
    alone = index.search(queries[123:124], 15, seen=seen[123])
    np.testing.assert_array_equal(two[0], positions)
    assert two[1].tobytes() == scores.tobytes()
    np.testing.assert_array_equal(alone[0], positions[123:124])
    assert alone[1].tobytes() == scores[123:124].tobytes()


def test_cells_are_built_the_same_twice_and_shared_while_they_live():
    _, targets = topics(1, 4000, 50, 0.8)
    first, second = Index(targets, cells=4), Index(targets.copy(), cells=4)
    assert first.elsewhere is not None and second.elsewhere is not None
    assert first.elsewhere.cells is second.elsewhere.cells
    import faiss

    before = faiss.serialize_index(first.elsewhere.cells.lists).tobytes()
    gone = weakref.ref(first.elsewhere.cells)
    del first, second
    assert gone() is None
    again = Index(targets, cells=4)
    assert again.elsewhere is not None
    assert faiss.serialize_index(again.elsewhere.cells.lists).tobytes() == before


def test_the_exact_answer_of_an_approximate_index_is_at_hand():
    queries, targets = topics(50, 5000, 50, 0.8)
    index = Index(targets, cells=1)
    exact = Index(targets).search(queries, 10)
    assert (index.search(queries, 10)[0] != exact[0]).any()
    np.testing.assert_array_equal(index.search(queries, 10, exact=True)[0], exact[0])


def test_recall_counts_what_was_to_be_found():
    exact = np.array([[1, 2, 3], [4, 5, -1]])
    assert recall(exact, exact) == 1.0
    assert recall(np.array([[3, 9, 2], [4, -1, -1]]), exact) == pytest.approx(3 / 5)
    assert recall(np.full((2, 3), -1), np.full((2, 3), -1)) == 1.0


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    targets = np.random.default_rng(5).random((50, 16), dtype=np.float32)
    with pytest.raises(RuntimeError, match=r"batch-predictions\[ann\]"):
        Index(targets, cells=3)
    assert Index(targets).search(targets[:1], 3)[0].shape == (1, 3)
