"""The compiled scan of a block of products: which items may still enter a user's list.

A product (int32 or float32) approximates a score: `scale * product` has an error of at most
`margin`. Every user has a buffer of candidates (item ranks with a lower and an upper bound of the
score) and a `floor`, a lower bound of the k-th best score. An item whose upper bound is below the
floor cannot be in the list. `vectors` says how the functions are compiled.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Floats, Int32s, Int64s
from batch_predictions.core.jit import njit_cached
from batch_predictions.models.common.heaps import sort_best_first
from batch_predictions.models.common.topk.topk_candidates import (
    approximate_kth_largest,
    initial_floor,
    prune_below_floor,
    score_exactly,
)
from batch_predictions.models.common.topk.vectors import CHUNK, greater_mask, lowest_set_bit

Candidates: TypeAlias = tuple[Doubles, Int64s, Doubles, Doubles, Int32s]
Exact: TypeAlias = tuple[int, Floats, Floats, Int32s, Int32s, Doubles, Int64s]


@njit_cached
def _prune(
    k: int,
    floor: float,
    n: int,
    lower: Doubles,
    upper: Doubles,
    ranks: Int32s,
    queries: Floats,
    user: int,
    targets: Floats,
    order: Int32s,
    rank_of: Int32s,
    scores: Doubles,
    positions: Int64s,
) -> tuple[float, int]:
    """Drops candidates that cannot be among the k best; returns floor and number of candidates."""
    if n >= k:
        floor = max(floor, approximate_kth_largest(lower, n, k))
    n = prune_below_floor(lower, upper, ranks, n, floor)
    if n < len(ranks) // 4 * 3:
        return floor, n
    # The bounds exclude too few, as with many equal scores: score exactly.
    score_exactly(queries, user, targets, order, ranks, n, scores, positions)
    sort_best_first(scores, positions, n)
    n = min(n, k)
    for i in range(n):
        lower[i] = upper[i] = scores[i]
        ranks[i] = rank_of[positions[i]]
    if n == k:
        floor = max(floor, scores[k - 1])
    return floor, n


@njit_cached
def scan(
    product: Floats | Int32s,
    codes: Floats | npt.NDArray[np.int8],
    excluded_value: float | int,
    block: tuple[int, int, int, float, float, float, float, float],
    active: Int64s,
    users: tuple[Doubles, Doubles, Doubles],
    candidates: Candidates,
    exact: Exact,
    filters: tuple[Int64s, Int32s, Int32s, Int64s],
    maxima: Floats | Int32s,
) -> int:
    """Adds items of a block of products to the users' candidates.

    Args:
        product: (A, W); overwritten where an item is seen.
        codes: (A, f) codes of the users; those of remaining users move to the front.
        excluded_value: least value of the products' type.
        block: (low, width, number, scale, largest norm, largest rounding error, arithmetic error
            as a share of the norms, largest norm of all later blocks); `low` is the rank of the
            first item.
        active: (A,) users that are searched, written: the remaining ones come first.
        users: scales (n,), norms (n,), rounding errors (n,), float64.
        candidates: floors (n,), counts (n,), lower and upper bounds (n, C), ranks (n, C).
        exact: k, queries (n, f), targets (m, f), position by rank, rank by position, and buffers
            for C scores and positions.
        filters: seen items by block (pointers, users, columns), row by user (-1 for finished ones).
        maxima: a buffer, its length a power of two, for the initial floor; empty: none is computed.

    Returns:
        The number of remaining users; the lists of the others are complete.
    """
    low, width, number, block_scale, norm, item_error, arithmetic, later_norm = block
    scales, norms, errors = users
    floors, counts, lowers, uppers, candidate_ranks = candidates
    k, queries, targets, order, rank_of, scores, positions = exact
    pointers, seen_users, seen_columns, row_of = filters
    for i in range(pointers[number], pointers[number + 1]):
        row = row_of[seen_users[i]]
        if row >= 0:
            product[row, seen_columns[i]] = excluded_value
    product[:, width:] = excluded_value
    capacity = candidate_ranks.shape[1]
    remaining = 0
    for a in range(len(active)):
        user = active[a]
        scale = block_scale * scales[user]
        margin = errors[user] * (norm + item_error) + norms[user] * (item_error + arithmetic * norm)
        floor, count = floors[user], counts[user]
        row = product[a]
        lower, upper, ranks = lowers[user], uppers[user], candidate_ranks[user]
        if len(maxima):
            first = initial_floor(row, product.shape[1], k, maxima)
            if first > excluded_value:
                floor = max(floor, scale * np.float64(first) - margin)
        limit = (floor - margin) / scale
        int_limit = np.int32(min(max(np.floor(limit) - 1.0, -2147483648.0), 2147483647.0))
        float_limit = np.float32(limit - abs(limit) * 1e-6 - 1e-37)
        for start in range(0, product.shape[1], CHUNK):
            mask = greater_mask(row, start, int_limit, float_limit)
            while mask:
                column = start + np.int64(lowest_set_bit(mask))
                mask &= mask - np.uint64(1)
                score = scale * np.float64(row[column])
                if score + margin < floor:
                    continue
                lower[count], upper[count] = score - margin, score + margin
                ranks[count] = low + column
                count += 1
                if count == capacity:
                    floor, count = _prune(
                        k, floor, count, lower, upper, ranks, queries, user, targets, order,
                        rank_of, scores, positions,
                    )  # fmt: skip
                    limit = (floor - margin) / scale
                    int_limit = np.int32(
                        min(max(np.floor(limit) - 1.0, -2147483648.0), 2147483647.0)
                    )
                    float_limit = np.float32(limit - abs(limit) * 1e-6 - 1e-37)
        floors[user], counts[user] = floor, count
        # Cauchy-Schwarz: no later item can reach the floor.
        if norms[user] * later_norm * (1.0 + 1e-9) >= floor:
            if remaining < a:
                active[remaining] = user
                codes[remaining] = codes[a]
            row_of[user] = remaining
            remaining += 1
        else:
            row_of[user] = -1
    return remaining


@njit_cached
def finish(
    candidates: Candidates,
    exact: Exact,
    out_positions: Int64s,
    out_scores: Floats,
) -> None:
    """Scores the candidates exactly and writes the users' lists, best first.

    Args:
        candidates: as in `scan`.
        exact: as in `scan`.
        out_positions: (n, k) written.
        out_scores: (n, k) float32, written.
    """
    floors, counts, lowers, uppers, candidate_ranks = candidates
    k, queries, targets, order, _, scores, positions = exact
    for user in range(len(queries)):
        lower, upper, ranks = lowers[user], uppers[user], candidate_ranks[user]
        floor, n = floors[user], counts[user]
        if n >= k:
            floor = max(floor, approximate_kth_largest(lower, n, k))
        n = prune_below_floor(lower, upper, ranks, n, floor)
        score_exactly(queries, user, targets, order, ranks, n, scores, positions)
        sort_best_first(scores, positions, n)
        for i in range(min(n, k)):
            out_positions[user, i] = positions[i]
            out_scores[user, i] = np.float32(scores[i])
