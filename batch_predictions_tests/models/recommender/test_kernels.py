"""Compiled loops give what plain numpy and scipy give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_sparse

from batch_predictions.models.common import heaps
from batch_predictions.models.recommender.data.dense_scores import (
    TargetBlocks,
    argsort_descending,
    inner_products,
)
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.kernels import history_kernels, products, topk


def make_scores(seed: int, rows: int, width: int, distinct: int) -> np.ndarray:
    """Scores with ties, nan and -inf."""
    random = np.random.default_rng(seed)
    scores = random.integers(-distinct, distinct, (rows, width)).astype(np.float32) / 7
    scores[random.random(scores.shape) < 0.1] = np.nan
    scores[random.random(scores.shape) < 0.1] = -np.inf
    scores[:1] = np.nan
    return scores


def best_first(scores: np.ndarray) -> np.ndarray:
    return np.argsort(np.where(np.isnan(scores), np.inf, -scores), axis=1, kind="stable")


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    width=st.integers(1, 1500),
    k=st.integers(1, 70),
    distinct=st.sampled_from([1, 5, 10_000]),
)
def test_the_best_of_a_row_are_those_of_a_stable_sort(
    seed: int, width: int, k: int, distinct: int
) -> None:
    scores = make_scores(seed, 4, width, distinct)
    positions, values = np.empty((4, k), np.int64), np.empty((4, k), np.float32)
    topk.topk_rows(scores, k, positions, values)
    order = best_first(scores)[:, :k]
    expected_values = np.full((4, k), -np.inf, np.float32)
    expected_values[:, : order.shape[1]] = np.take_along_axis(scores, order, axis=1)
    is_scored = expected_values > -np.inf
    expected_values[~is_scored] = -np.inf
    np.testing.assert_array_equal(values, expected_values)
    padded = np.full((4, k), -1)
    padded[:, : order.shape[1]] = order
    np.testing.assert_array_equal(positions, np.where(is_scored, padded, -1))


@given(scores=st.lists(st.integers(0, 9), max_size=40), k=st.integers(1, 12))
def test_one_heap_sorts_and_keeps_the_best(scores: list[int], k: int) -> None:
    expected = sorted((-score, position) for position, score in enumerate(scores))
    values, positions = np.array(scores, float), np.arange(len(scores))
    heaps.sort_best_first(values, positions, len(scores))
    assert positions.tolist() == [position for _, position in expected]
    values, positions, n = np.empty(k), np.empty(k, np.int64), 0
    for position, score in enumerate(scores):
        n = heaps.heap_push(values, positions, n, k, score, position)
    heaps.heap_sort(values, positions, n)
    assert positions[:n].tolist() == [position for _, position in expected[:k]]


def test_scores_whose_rows_are_not_contiguous_are_refused() -> None:
    scores = np.zeros((4, 6), np.float32)[:, ::2]
    with pytest.raises(ValueError, match="not contiguous"):
        topk.topk_rows(scores, 2, np.empty((4, 2), np.int64), np.empty((4, 2), np.float32))


@given(seed=st.integers(0, 2**31), width=st.integers(1, 300))
def test_scores_are_sorted_as_by_a_stable_sort(seed: int, width: int) -> None:
    scores = make_scores(seed, 3, width, 20)
    scores[1, ::2] = -0.0
    expected = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), axis=1, kind="stable")
    np.testing.assert_array_equal(argsort_descending(scores), expected)


@pytest.mark.parametrize(("users", "items", "factors"), [(5, 1300, 64), (1, 3, 1), (4, 512, 7)])
def test_inner_products_have_the_same_bits_in_any_batch(
    users: int, items: int, factors: int
) -> None:
    random = np.random.default_rng(users)
    queries = random.standard_normal((users, factors)).astype(np.float32)
    targets = random.standard_normal((items, factors)).astype(np.float32)
    scores = inner_products(queries, TargetBlocks.of(targets))
    np.testing.assert_allclose(scores, queries @ targets.T, rtol=1e-4, atol=1e-4)
    for user in range(users):
        single = inner_products(queries[user:], TargetBlocks.of(targets[items // 2 :]))[0]
        np.testing.assert_array_equal(single, scores[user, items // 2 :])


@pytest.mark.parametrize("columns", [1, 128, 300])
def test_a_sparse_product_in_blocks_is_scipy_s(columns: int) -> None:
    rows = random_sparse(9, 50, density=0.2, format="csr", dtype=np.float32, random_state=1)
    matrix = np.random.default_rng(2).standard_normal((50, columns)).astype(np.float32)
    width = products.BLOCK_COLUMNS
    blocks = np.zeros((-(-columns // width), 50, width), np.float32)
    for number, block in enumerate(blocks):
        part = matrix[:, number * width :][:, :width]
        block[:, : part.shape[1]] = part
    out = np.empty((9, columns), np.float32)
    products.sparse_times_blocks(rows.indptr, rows.indices, rows.data, blocks, out)
    np.testing.assert_allclose(out, rows @ matrix, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 9, 16, 37])
def test_folded_in_users_solve_the_sums_over_their_histories(size: int) -> None:
    confidence = random_sparse(6, 90, density=0.4, format="csr", dtype=np.float32, random_state=3)
    confidence.data += 1
    confidence = csr_matrix(confidence.multiply(np.arange(6)[:, np.newaxis] > 0))
    confidence.eliminate_zeros()
    factors = np.random.default_rng(4).standard_normal((90, size)).astype(np.float32)
    ridge = factors.astype(np.float64).T @ factors + np.eye(size)
    systems, solutions = np.empty((6, size, size)), np.empty((6, size), np.float32)
    arguments = (confidence.indptr, confidence.indices, confidence.data, factors, ridge)
    products.fold_in_systems(*arguments, systems)
    products.fold_in(*arguments, solutions)
    for user in range(6):
        weights = confidence[user].toarray()[0].astype(np.float64)
        vectors = factors[weights > 0].astype(np.float64)
        weights = weights[weights > 0]
        expected = ridge + vectors.T @ (vectors * (weights - 1)[:, np.newaxis])
        np.testing.assert_allclose(systems[user], expected, atol=1e-6)
        np.testing.assert_array_equal(systems[user], systems[user].T)
        solved = np.linalg.solve(expected, weights @ vectors)
        np.testing.assert_allclose(solutions[user], solved, rtol=1e-5, atol=1e-6)
    assert (solutions[0] == 0).all()


def make_histories(seed: int, users: int, items: int, rows: int) -> Histories:
    random = np.random.default_rng(seed)
    return Histories(
        users,
        items,
        random.integers(0, users, rows).astype(np.int32),
        random.integers(0, items, rows).astype(np.int32),
        random.integers(0, 60, rows).astype(np.int32),
        random.integers(1, 4, rows).astype(np.float64),
    ).sorted()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), rows=st.integers(0, 80))
def test_entries_and_active_days_are_those_of_the_rows(seed: int, rows: int) -> None:
    world = make_histories(seed, 5, 12, rows)
    items = np.random.default_rng(seed).integers(-1, 12, (5, 7))
    entries = world.find_entries(items)
    ages = [world.ages[world.user_index == user] for user in range(5)]
    for user in range(5):
        assert world.active_days.per_user[user] == len(set(ages[user]))
        for column in range(7):
            is_entry = (world.entry_users == user) & (world.entry_items == items[user, column])
            expected = np.flatnonzero(is_entry)
            assert entries[user, column] == (expected[0] if len(expected) else -1)
    for entry, user in enumerate(world.entry_users):
        days = set(ages[user].tolist())
        first, last = world.days_since_first[entry], world.days_since_last[entry]
        assert world.active_days.since_first[entry] == len([day for day in days if day <= first])
        assert world.active_days.since_last[entry] == len([day for day in days if day < last])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), rows=st.integers(0, 80))
def test_values_by_tag_are_those_of_sparse_products(seed: int, rows: int) -> None:
    world = make_histories(seed, 5, 12, rows)
    random = np.random.default_rng(seed)
    tags = csr_matrix((random.random((12, 6)) < 0.4).astype(np.float32))
    tag_arrays = tags.indptr, tags.indices, tags.data
    starts, items = make_rows(random, 5, 12)
    candidates_of = starts, items
    events, overall = world.entry_events(90), random.random(6)
    by_tag = np.asarray((world.to_csr(events) @ tags).toarray(), np.float64)
    user_of_row = np.repeat(np.arange(5), np.diff(starts))

    def averaged(values: np.ndarray) -> np.ndarray:
        weights = tags[items].toarray()
        return np.asarray((weights * values[user_of_row]).sum(axis=1))

    out = np.empty(len(items), np.float32)
    entries = world.indptr, world.entry_items
    history_kernels.tag_events(*entries, events, tag_arrays, 6, *candidates_of, out)
    np.testing.assert_allclose(out, averaged(np.log1p(by_tag)), rtol=1e-5, atol=1e-5)
    history_kernels.tag_affinity(*entries, events, tag_arrays, overall, *candidates_of, out)
    shares = by_tag / np.maximum(by_tag.sum(axis=1, keepdims=True), 1e-12)
    lifts = np.log((shares + 0.01 * overall + 1e-9) / (overall + 1e-9))
    np.testing.assert_allclose(out, averaged(lifts), rtol=1e-4, atol=1e-4)
    days = world.days_since_last
    history_kernels.tag_days_since_last(*entries, days, tag_arrays, 6, 99.0, *candidates_of, out)
    newest = np.full((5, 6), 99.0)
    for user, item, days in zip(*entries_of(world), world.days_since_last, strict=True):
        is_tag = tags[item].toarray()[0] > 0
        newest[user] = np.where(is_tag, np.minimum(newest[user], days), newest[user])
    np.testing.assert_allclose(out, averaged(newest), rtol=1e-5)


def make_rows(random: np.random.Generator, users: int, items: int) -> tuple[np.ndarray, np.ndarray]:
    """First row of each user, of which some have none, and the item of each row."""
    starts = np.concatenate([[0], np.cumsum(random.integers(0, 8, users))])
    return starts, random.integers(0, items, starts[-1])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_values_of_shops_are_those_of_a_dense_matrix(seed: int) -> None:
    random = np.random.default_rng(seed)
    by_shop = random_sparse(3, 12, 0.4, "csr", random_state=seed)
    shops = random.integers(-1, 3, 6)
    starts, items = make_rows(random, 6, 12)
    out = np.empty(len(items), np.float32)
    arrays = by_shop.indptr, by_shop.indices, by_shop.data
    history_kernels.values_of_shops(*arrays, shops, np.argsort(shops), 12, starts, items, out)
    shop_of_row = np.repeat(shops, np.diff(starts))
    expected = np.where(shop_of_row < 0, np.nan, by_shop.toarray()[shop_of_row, items])
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def entries_of(world: Histories) -> tuple[np.ndarray, np.ndarray]:
    return world.entry_users, world.entry_items


def test_what_is_computed_once_is_not_computed_for_another_subset() -> None:
    world = make_histories(1, 5, 12, 60)
    first, second = np.full(12, -1, np.int32), np.full(12, -1, np.int32)
    first[[1, 4]], second[[2, 3, 5]] = [0, 1], [0, 1, 2]
    assert world.reindex(first, 2) is world.reindex(first, 2)
    np.testing.assert_array_equal(
        world.reindex(second, 3).matrix().toarray(), world.matrix().toarray()[:, [2, 3, 5]]
    )
    assert world.slice_users(0, 5) is world
