"""Exact top-k against an argsort of everything."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from batch_predictions.inference.topk import top_k

Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


def brute_force(
    queries: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    k: int,
    seen: npt.NDArray[np.bool_],
    blocked: npt.NDArray[np.bool_],
) -> Found:
    scores = queries @ targets.T
    scores[seen] = -np.inf
    scores[:, blocked] = -np.inf
    positions = np.full((len(queries), k), -1, dtype=np.int64)
    values = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for row, line in enumerate(scores):
        order = [at for at in np.argsort(-line, kind="stable")[:k] if line[at] > -np.inf]
        positions[row, : len(order)] = order
        values[row, : len(order)] = line[order]
    return positions, values


@budget(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 9),
    m=st.integers(0, 17),
    f=st.integers(1, 3),
    k=st.integers(1, 20),
    # Few different values, whose sums are exact: nearly every row has ties.
    spread=st.sampled_from([0, 1, 3, 50]),
    share_seen=st.sampled_from([0.0, 0.3, 1.0]),
    share_blocked=st.sampled_from([0.0, 0.3, 1.0]),
    block_mb=st.sampled_from([0, 1]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_best_are_found_and_equal_ones_by_position(
    n: int,
    m: int,
    f: int,
    k: int,
    spread: int,
    share_seen: float,
    share_blocked: float,
    block_mb: int,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    queries = random.integers(-spread, spread + 1, (n, f)).astype(np.float32)
    targets = random.integers(-spread, spread + 1, (m, f)).astype(np.float32)
    seen = random.random((n, m)) < share_seen
    blocked = random.random(m) < share_blocked
    wanted = brute_force(queries, targets, k, seen, blocked)
    # block_mb = 0 gives the smallest blocks that there are: of k targets.
    found = top_k(queries, targets, k, seen=csr_matrix(seen), blocked=blocked, block_mb=block_mb)
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])


@pytest.mark.parametrize("ties", [True, False])
def test_the_answer_does_not_depend_on_the_blocks(ties: bool) -> None:
    """More rows than one block of queries, and from 58 blocks of targets down to one."""
    random = np.random.default_rng(5)
    spread = 2 if ties else 500
    queries = random.integers(-spread, spread + 1, (1030, 4)).astype(np.float32)
    targets = random.integers(-spread, spread + 1, (400, 4)).astype(np.float32)
    seen = csr_matrix(random.random((1030, 400)) < 0.02)
    blocked = random.random(400) < 0.1
    answers = [
        top_k(queries, targets, 7, seen=seen, blocked=blocked, block_mb=mb) for mb in (0, 1, 256)
    ]
    for positions, scores in answers[1:]:
        np.testing.assert_array_equal(positions, answers[0][0])
        np.testing.assert_array_equal(scores, answers[0][1])
    some = slice(1000, 1030)
    alone = top_k(queries[some], targets, 7, seen=seen[some], blocked=blocked)
    np.testing.assert_array_equal(alone[0], answers[0][0][some])


def test_a_seen_target_of_weight_zero_is_seen() -> None:
    one = np.ones((1, 1), dtype=np.float32)
    seen = csr_matrix((np.zeros(1), ([0], [1])), shape=(1, 3))
    positions, _ = top_k(one, np.ones((3, 1), dtype=np.float32), 3, seen=seen)
    assert positions.tolist() == [[0, 2, -1]]


def test_where_everything_is_forbidden_nothing_is_found() -> None:
    one = np.ones((2, 1), dtype=np.float32)
    positions, scores = top_k(one, one, 2, blocked=np.array([True, True]))
    assert positions.tolist() == [[-1, -1]] * 2
    assert np.isneginf(scores).all()


def test_inputs_are_left_as_they_were_and_need_not_be_contiguous() -> None:
    random = np.random.default_rng(3)
    queries = random.random((4, 6), dtype=np.float32)
    targets = random.random((5, 6), dtype=np.float32)
    copies = queries.copy(), targets.copy()
    straight = top_k(queries[:, ::2].copy(), targets[:, ::2].copy(), 3)
    strided = top_k(queries[:, ::2], targets[:, ::2], 3)
    np.testing.assert_array_equal(straight[0], strided[0])
    np.testing.assert_array_equal(queries, copies[0])
    np.testing.assert_array_equal(targets, copies[1])


def test_a_gpu_gives_the_answer_of_the_processor() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this machine has no GPU")
    random = np.random.default_rng(9)
    queries = random.integers(-9, 10, (2000, 8)).astype(np.float32)
    targets = random.integers(-9, 10, (3000, 8)).astype(np.float32)
    seen = csr_matrix(random.random((2000, 3000)) < 0.01)
    here = top_k(queries, targets, 20, seen=seen, block_mb=1)
    there = top_k(queries, targets, 20, seen=seen, block_mb=1, device="cuda")
    np.testing.assert_array_equal(here[0], there[0])
    np.testing.assert_array_equal(here[1], there[1])
