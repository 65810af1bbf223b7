"""Exact top-k against brute force in float64: both kinds of products, every filter, ties."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_sparse

from batch_predictions.inference.topk import Index, top_k
from batch_predictions.inference.topk.arrays import Floats, Positions
from batch_predictions.inference.topk.gpu import GPUCandidates

KINDS = ["int8", "float32", "half"]


def brute(
    queries: Floats,
    targets: Floats,
    k: int,
    seen: csr_matrix | None = None,
    blocked: npt.NDArray[np.bool_] | None = None,
    categories: npt.NDArray[np.int64] | None = None,
    cap: int = 0,
) -> Positions:
    """Positions (n, k) by a full stable sort; -1 where nothing is left."""
    scores = queries.astype(np.float64) @ targets.astype(np.float64).T
    if blocked is not None:
        scores[:, blocked] = -np.inf
    if seen is not None:
        scores[seen.nonzero()] = -np.inf
    best = np.full((len(queries), k), -1, dtype=np.int64)
    for user, order in enumerate(np.argsort(-scores, axis=1, kind="stable")):
        used: dict[int, int] = {}
        kept = 0
        for item in order:
            category = -1 if categories is None or not cap else int(categories[item])
            if kept == k or np.isneginf(scores[user, item]):
                break
            if category >= 0 and used.get(category, 0) == cap:
                continue
            used[category] = used.get(category, 0) + 1
            best[user, kept] = item
            kept += 1
    return best


def search(kind: str, queries: Floats, targets: Floats, k: int, **filters: Any) -> Any:
    """The answer by one way of making products; `half` is the GPU's way on the CPU."""
    seen = filters.pop("seen", None)
    if kind != "half":
        return Index(targets, kind=kind, **filters).search(queries, k, seen=seen)
    index = Index(targets, **filters)
    if not index.items.category_cap:
        index.candidate_source = GPUCandidates(
            index.items.targets, index.items.order, "cpu", block_mb=1
        )
    return index.search(queries, k, seen=seen)


def assert_same(
    found: tuple[Positions, Floats], expected: Positions, queries: Floats, targets: Floats
) -> None:
    """Equal sets of scores and counts; the same item wherever no other has nearly its score."""
    positions, scores = found
    assert ((positions >= 0) == (expected >= 0)).all()
    exact = queries.astype(np.float64) @ targets.astype(np.float64).T
    mine = np.take_along_axis(exact, np.maximum(positions, 0), 1)[positions >= 0]
    best = np.take_along_axis(exact, np.maximum(expected, 0), 1)[positions >= 0]
    size = np.abs(queries).max(initial=0) * np.abs(targets).max(initial=0) * queries.shape[1]
    np.testing.assert_allclose(mine, best, rtol=0, atol=1e-12 * size)
    np.testing.assert_allclose(scores[positions >= 0], best, rtol=1e-6, atol=1e-12 * size)
    assert np.isneginf(scores[positions < 0]).all()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 40),
    m=st.integers(1, 5000),
    f=st.integers(1, 70),
    k=st.integers(1, 60),
    spread=st.floats(0, 3),
    size=st.sampled_from([1e-6, 1.0, 1e6]),
    seen_share=st.sampled_from([0.0, 0.02, 0.9]),
    blocked_share=st.sampled_from([0.0, 0.3, 1.0]),
    cap=st.integers(0, 3),
    seed=st.integers(0, 2**31),
)
def test_equals_brute_force(
    kind: str,
    n: int,
    m: int,
    f: int,
    k: int,
    spread: float,
    size: float,
    seen_share: float,
    blocked_share: float,
    cap: int,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    norms = np.exp(spread * random.standard_normal((m, 1))) * size
    targets = (random.standard_normal((m, f)) * norms).astype(np.float32)
    queries = random.standard_normal((n, f)).astype(np.float32)
    queries[random.random(n) < 0.1] = 0
    seen = random_sparse(n, m, seen_share, format="csr", random_state=seed % 1000)
    blocked = random.random(m) < blocked_share
    categories = random.integers(-1, 8, m)
    found = search(
        kind, queries, targets, k, seen=seen, blocked=blocked,
        categories=categories, per_category=cap,
    )  # fmt: skip
    expected = brute(queries, targets, k, seen, blocked, categories, cap)
    assert_same(found, expected, queries, targets)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copies", [3, 3000])
def test_equal_scores_are_ordered_by_position(kind: str, copies: int):
    random = np.random.default_rng(1)
    different = random.integers(-2, 3, (5, 16)).astype(np.float32)
    targets = np.repeat(different, copies, axis=0)[random.permutation(5 * copies)]
    queries = random.integers(-2, 3, (20, 16)).astype(np.float32)
    positions, _ = search(kind, queries, targets, 10)
    assert (positions == brute(queries, targets, 10)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_has_the_same_bits_whatever_batch_and_threads(kind: str):
    random = np.random.default_rng(2)
    targets = random.standard_normal((3000, 24)).astype(np.float32)
    queries = random.standard_normal((700, 24)).astype(np.float32)
    positions, scores = top_k(queries, targets, 12)
    other = search(kind, queries, targets, 12)
    alone = search(kind, queries[599:600], targets, 12)
    two = Index(targets, kind="float32").search(queries, 12, threads=2)
    for found in (other, two):
        assert (found[0] == positions).all()
        assert found[1].tobytes() == scores.tobytes()
    assert alone[1].tobytes() == scores[599:600].tobytes()


@pytest.mark.parametrize("k", [600, 1000])
def test_long_lists(k: int):
    random = np.random.default_rng(3)
    targets = random.standard_normal((4500, 32)).astype(np.float32)
    queries = random.standard_normal((9, 32)).astype(np.float32)
    for kind in KINDS:
        assert (search(kind, queries, targets, k)[0] == brute(queries, targets, k)).all()


def test_long_vectors_are_searched_without_a_copy():
    random = np.random.default_rng(4)
    targets = random.standard_normal((2500, 600)).astype(np.float32)
    queries = random.standard_normal((5, 600)).astype(np.float32)
    index = Index(targets)
    assert index.items.blocks[0].codes.data_ptr() == index.items.targets.ctypes.data
    assert (index.search(queries, 7)[0] == brute(queries, targets, 7)).all()


def test_a_vector_that_is_not_finite_is_named():
    targets = np.ones((4, 16), dtype=np.float32)
    targets[2, 3] = np.nan
    with pytest.raises(ValueError, match="row 2 of the targets"):
        top_k(targets[:1], targets, 1)


def test_arrays_of_other_shapes_are_refused():
    targets = np.ones((4, 16), dtype=np.float32)
    with pytest.raises(ValueError, match=r"queries have shape \(4, 8\), targets 16"):
        top_k(targets[:, :8], targets, 1)
    with pytest.raises(ValueError, match=r"`seen` has shape \(4, 3\)"):
        top_k(targets, targets, 1, seen=csr_matrix((4, 3)))
    with pytest.raises(ValueError, match="for 4 targets"):
        top_k(targets, targets, 1, blocked=np.ones(3, dtype=np.bool_))
    with pytest.raises(ValueError, match="4 integers"):
        top_k(targets, targets, 1, categories=np.ones(3, dtype=np.int64), per_category=1)


def test_nothing_to_find_and_nobody_to_find_it_for():
    targets = np.ones((4, 16), dtype=np.float32)
    positions, scores = top_k(targets, targets, 2, blocked=np.ones(4, dtype=np.bool_))
    assert (positions == -1).all() and np.isneginf(scores).all()
    assert top_k(targets[:0], targets, 2)[0].shape == (0, 2)
    assert (top_k(targets, targets[:0], 2)[0] == -1).all()


def test_a_device_without_memory_gets_smaller_batches_and_the_same_answer(
    monkeypatch: pytest.MonkeyPatch,
):
    random = np.random.default_rng(5)
    targets = random.standard_normal((500, 16)).astype(np.float32)
    queries = random.standard_normal((100, 16)).astype(np.float32)
    sizes = []
    find = GPUCandidates._candidates

    def small(self: GPUCandidates, block: torch.Tensor, *rest: Any) -> Any:
        sizes.append(len(block))
        if len(block) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return find(self, block, *rest)

    monkeypatch.setattr(GPUCandidates, "_candidates", small)
    found = search("half", queries, targets, 5)
    assert sizes == [100, 50, 25, *[13] * 7, 9]
    assert (found[0] == brute(queries, targets, 5)).all()
