"""Exact top-k against brute force in float64: all arithmetics, every filter, ties."""

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

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.common.topk import Index
from batch_predictions.models.common.topk.gpu import GPUCandidates

ARITHMETICS = ["int8", "float32", "float16"]
"""float16 is the GPU's search, run on the CPU."""

TopK = tuple[Positions, Floats]


def brute_force(
    queries: Floats,
    targets: Floats,
    k: int,
    seen: csr_matrix | None = None,
    blocked: npt.NDArray[np.bool_] | None = None,
) -> TopK:
    """Positions (n, k) and scores (n, k) by a full stable sort, filled with -1 and -inf."""
    all_scores = queries.astype(np.float64) @ targets.astype(np.float64).T
    if blocked is not None:
        all_scores[:, blocked] = -np.inf
    if seen is not None:
        # The indices of a CSR matrix include stored zeros.
        rows = np.repeat(np.arange(len(queries)), np.diff(seen.indptr))
        all_scores[rows, seen.indices] = -np.inf
    positions = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for user, order in enumerate(np.argsort(-all_scores, axis=1, kind="stable")):
        best = order[~np.isneginf(all_scores[user, order])][:k]
        positions[user, : len(best)], scores[user, : len(best)] = best, all_scores[user, best]
    return positions, scores


def search(arithmetic: str, queries: Floats, targets: Floats, k: int, **filters: Any) -> TopK:
    """The lists of an index with one arithmetic of products."""
    seen = filters.pop("seen", None)
    if arithmetic != "float16":
        kind: Any = arithmetic
        return Index(targets, kind=kind, **filters).search(queries, k, seen=seen)
    index = Index(targets, **filters)
    index.candidate_source = GPUCandidates(
        index.items.targets, index.items.order, "cpu", block_mb=1
    )
    return index.search(queries, k, seen=seen)


def assert_equal_scores(lists: TopK, expected: Positions, queries: Floats, targets: Floats) -> None:
    """Asserts equal lengths and scores; items whose scores differ by rounding may be swapped."""
    positions, scores = lists
    assert ((positions >= 0) == (expected >= 0)).all()
    all_scores = queries.astype(np.float64) @ targets.astype(np.float64).T
    is_item = positions >= 0
    list_scores = np.take_along_axis(all_scores, np.maximum(positions, 0), 1)[is_item]
    best_scores = np.take_along_axis(all_scores, np.maximum(expected, 0), 1)[is_item]
    bound = np.abs(queries).max(initial=0) * np.abs(targets).max(initial=0) * queries.shape[1]
    np.testing.assert_allclose(list_scores, best_scores, rtol=0, atol=1e-12 * bound)
    np.testing.assert_allclose(scores[is_item], best_scores, rtol=1e-6, atol=1e-12 * bound)
    assert np.isneginf(scores[~is_item]).all()


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 40),
    m=st.integers(1, 5000),
    f=st.integers(1, 70),
    k=st.integers(1, 60),
    norm_spread=st.floats(0, 3),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    seen_share=st.sampled_from([0.0, 0.02, 0.9]),
    blocked_share=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_lists_have_the_scores_of_brute_force(
    arithmetic: str,
    n: int,
    m: int,
    f: int,
    k: int,
    norm_spread: float,
    scale: float,
    seen_share: float,
    blocked_share: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    norms = np.exp(norm_spread * rng.standard_normal((m, 1))) * scale
    targets = (rng.standard_normal((m, f)) * norms).astype(np.float32)
    queries = rng.standard_normal((n, f)).astype(np.float32)
    queries[rng.random(n) < 0.1] = 0
    seen = random_sparse(n, m, seen_share, format="csr", random_state=seed % 1000)
    blocked = rng.random(m) < blocked_share
    lists = search(arithmetic, queries, targets, k, seen=seen, blocked=blocked)
    expected, _ = brute_force(queries, targets, k, seen, blocked)
    assert_equal_scores(lists, expected, queries, targets)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 9),
    m=st.integers(0, 17),
    f=st.integers(1, 3),
    k=st.integers(1, 20),
    # Small integers, whose sums are exact: most rows have ties.
    max_value=st.sampled_from([0, 1, 3, 50]),
    seen_share=st.sampled_from([0.0, 0.3, 1.0]),
    blocked_share=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_lists_with_ties_equal_those_of_brute_force(
    n: int,
    m: int,
    f: int,
    k: int,
    max_value: int,
    seen_share: float,
    blocked_share: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    queries = rng.integers(-max_value, max_value + 1, (n, f)).astype(np.float32)
    targets = rng.integers(-max_value, max_value + 1, (m, f)).astype(np.float32)
    seen = csr_matrix(rng.random((n, m)) < seen_share)
    blocked = rng.random(m) < blocked_share
    lists = Index(targets, blocked=blocked).search(queries, k, seen=seen)
    expected = brute_force(queries, targets, k, seen, blocked)
    np.testing.assert_array_equal(lists[0], expected[0])
    np.testing.assert_array_equal(lists[1], expected[1])


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("copies", [3, 3000])
def test_equal_scores_are_sorted_by_position(arithmetic: str, copies: int) -> None:
    rng = np.random.default_rng(1)
    different = rng.integers(-2, 3, (5, 16)).astype(np.float32)
    targets = np.repeat(different, copies, axis=0)[rng.permutation(5 * copies)]
    queries = rng.integers(-2, 3, (20, 16)).astype(np.float32)
    positions, _ = search(arithmetic, queries, targets, 10)
    assert (positions == brute_force(queries, targets, 10)[0]).all()


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_a_list_has_the_same_bits_for_every_batch_and_number_of_threads(arithmetic: str) -> None:
    rng = np.random.default_rng(2)
    targets = rng.standard_normal((3000, 24)).astype(np.float32)
    queries = rng.standard_normal((700, 24)).astype(np.float32)
    positions, scores = Index(targets).search(queries, 12)
    two_threads = Index(targets, kind="float32").search(queries, 12, threads=2)
    for lists in (search(arithmetic, queries, targets, 12), two_threads):
        assert (lists[0] == positions).all()
        assert lists[1].tobytes() == scores.tobytes()
    single = search(arithmetic, queries[599:600], targets, 12)
    assert single[1].tobytes() == scores[599:600].tobytes()


@pytest.mark.parametrize("max_value", [2, 500], ids=["ties", "no ties"])
def test_lists_with_filters_do_not_depend_on_the_batch(max_value: int) -> None:
    """With more rows than a batch of 256."""
    rng = np.random.default_rng(5)
    queries = rng.integers(-max_value, max_value + 1, (1030, 4)).astype(np.float32)
    targets = rng.integers(-max_value, max_value + 1, (400, 4)).astype(np.float32)
    seen = csr_matrix(rng.random((1030, 400)) < 0.02)
    index = Index(targets, blocked=rng.random(400) < 0.1)
    positions, _ = index.search(queries, 7, seen=seen)
    last_rows = slice(1000, 1030)
    np.testing.assert_array_equal(
        index.search(queries[last_rows], 7, seen=seen[last_rows])[0], positions[last_rows]
    )


@pytest.mark.parametrize("k", [600, 1000])
def test_long_lists_equal_those_of_brute_force(k: int) -> None:
    rng = np.random.default_rng(3)
    targets = rng.standard_normal((4500, 32)).astype(np.float32)
    queries = rng.standard_normal((9, 32)).astype(np.float32)
    expected, _ = brute_force(queries, targets, k)
    for arithmetic in ARITHMETICS:
        assert (search(arithmetic, queries, targets, k)[0] == expected).all()


def test_long_vectors_are_searched_without_a_copy() -> None:
    rng = np.random.default_rng(4)
    targets = rng.standard_normal((2500, 600)).astype(np.float32)
    queries = rng.standard_normal((5, 600)).astype(np.float32)
    index = Index(targets)
    assert index.items.blocks[0].codes.data_ptr() == index.items.targets.ctypes.data
    assert (index.search(queries, 7)[0] == brute_force(queries, targets, 7)[0]).all()


def test_a_vector_that_is_not_finite_is_named() -> None:
    targets = np.ones((4, 16), dtype=np.float32)
    targets[2, 3] = np.nan
    with pytest.raises(ValueError, match="row 2 of the targets"):
        Index(targets)


def test_arrays_of_wrong_shapes_are_refused() -> None:
    targets = np.ones((4, 16), dtype=np.float32)
    with pytest.raises(ValueError, match=r"queries have shape \(4, 8\), targets 16"):
        Index(targets).search(targets[:, :8], 1)
    with pytest.raises(ValueError, match=r"`seen` has shape \(4, 3\)"):
        Index(targets).search(targets, 1, seen=csr_matrix((4, 3)))
    with pytest.raises(ValueError, match="for 4 targets"):
        Index(targets, blocked=np.ones(3, dtype=np.bool_))


def test_lists_are_empty_without_targets_or_queries() -> None:
    targets = np.ones((4, 16), dtype=np.float32)
    positions, scores = Index(targets, blocked=np.ones(4, dtype=np.bool_)).search(targets, 2)
    assert (positions == -1).all() and np.isneginf(scores).all()
    assert Index(targets).search(targets[:0], 2)[0].shape == (0, 2)
    assert (Index(targets[:0]).search(targets, 2)[0] == -1).all()


def test_a_seen_entry_with_a_stored_zero_is_left_out() -> None:
    query = np.ones((1, 1), dtype=np.float32)
    seen = csr_matrix((np.zeros(1), ([0], [1])), shape=(1, 3))
    positions, _ = Index(np.ones((3, 1), dtype=np.float32)).search(query, 3, seen=seen)
    assert positions.tolist() == [[0, 2, -1]]


def test_arrays_need_not_be_contiguous_and_are_not_changed() -> None:
    rng = np.random.default_rng(3)
    queries = rng.random((4, 6), dtype=np.float32)
    targets = rng.random((5, 6), dtype=np.float32)
    copies = queries.copy(), targets.copy()
    contiguous = Index(targets[:, ::2].copy()).search(queries[:, ::2].copy(), 3)
    strided = Index(targets[:, ::2]).search(queries[:, ::2], 3)
    np.testing.assert_array_equal(contiguous[0], strided[0])
    np.testing.assert_array_equal(queries, copies[0])
    np.testing.assert_array_equal(targets, copies[1])


def test_a_gpu_without_memory_gets_smaller_batches_and_gives_the_same_lists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(5)
    targets = rng.standard_normal((500, 16)).astype(np.float32)
    queries = rng.standard_normal((100, 16)).astype(np.float32)
    sizes = []
    find_candidates = GPUCandidates._find_candidates

    def find_in_small_memory(self: GPUCandidates, block: torch.Tensor, *args: Any) -> Any:
        sizes.append(len(block))
        if len(block) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return find_candidates(self, block, *args)

    monkeypatch.setattr(GPUCandidates, "_find_candidates", find_in_small_memory)
    positions, _ = search("float16", queries, targets, 5)
    assert sizes == [100, 50, 25, *[13] * 7, 9]
    assert (positions == brute_force(queries, targets, 5)[0]).all()


@pytest.mark.gpu
def test_a_gpu_gives_the_lists_of_the_cpu() -> None:
    rng = np.random.default_rng(9)
    queries = rng.integers(-9, 10, (2000, 8)).astype(np.float32)
    targets = rng.integers(-9, 10, (3000, 8)).astype(np.float32)
    seen = csr_matrix(rng.random((2000, 3000)) < 0.01)
    cpu = Index(targets).search(queries, 20, seen=seen)
    gpu = Index(targets, device="cuda", block_mb=1).search(queries, 20, seen=seen)
    np.testing.assert_array_equal(cpu[0], gpu[0])
    np.testing.assert_array_equal(cpu[1], gpu[1])
