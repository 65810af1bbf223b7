"""The scan of a block of products, compiled: what may still enter a user's list.

A block of products (A users x W items, int32 or float32) stands for scores `scale * product` with
an error of at most `margin`. Each user holds a buffer of candidates (lower and upper bound of the
score, item) and `floor`, a lower bound of the k-th best score. Whatever has an upper bound below
the floor cannot be in the answer. See `vectors` for how it is compiled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from batch_predictions.inference.topk.candidates import (
    apply_category_cap,
    first_floor,
    near_kth,
    prune_below_floor,
    score_exactly,
    sort_best_first,
)
from batch_predictions.inference.topk.vectors import CHUNK, first_bit, greater_mask
from batch_predictions.jit import njit_cached


@njit_cached
def _prune(
    k: int,
    floor: float,
    n: int,
    lower: Any,
    upper: Any,
    found: Any,
    queries: Any,
    user: int,
    targets: Any,
    order: Any,
    rank_of: Any,
    scores: Any,
    places: Any,
    categories: Any,
    cap: int,
    used: Any,
) -> tuple[float, int]:
    """Drops candidates that cannot be among the k best; the new floor and how many are left."""
    if not cap:
        if n >= k:
            floor = max(floor, near_kth(lower, n, k))
        n = prune_below_floor(lower, upper, found, n, floor)
        if n < len(found) // 4 * 3:
            return floor, n
    # Bounds tell too few apart (many equal scores), or a cap needs the order: score them exactly.
    score_exactly(queries, user, targets, order, found, n, scores, places)
    sort_best_first(scores, places, n)
    n = apply_category_cap(places, scores, n, k, categories, cap, used)
    for i in range(n):
        lower[i] = upper[i] = scores[i]
        found[i] = rank_of[places[i]]
    if n == k:
        floor = max(floor, scores[k - 1])
    return floor, n


@njit_cached
def scan(
    product: Any,
    codes: Any,
    banned: Any,
    block: Any,
    active: Any,
    users: Any,
    candidates: Any,
    exact: Any,
    filters: Any,
    maxima: Any,
) -> int:
    """Takes a block of products into the users' candidates.

    Args:
        product: (A, W); overwritten where an item is not to be found.
        codes: (A, f) what the users are multiplied by; rows of those left move to the front.
        banned: least value of the products' type.
        block: (low, width, number, scale, largest norm, largest rounding error, arithmetic error
            as a share of the norms, largest norm of all later blocks); `low` is the rank of the
            first item.
        active: (A,) users still looked at, written: those left come first.
        users: scales (n,), norms (n,), rounding errors (n,), float64.
        candidates: floor (n,), count (n,), lower and upper (n, C), found (n, C).
        exact: k, queries (n, f), targets (m, f), position by rank, rank by position, and room for
            C scores and positions.
        filters: seen items by block (pointers, users, columns), row by user (-1 for those that
            are done), categories by position, cap (0: none), and room to count.
        maxima: room of a power of two for the first floor; empty: none is sought.

    Returns:
        How many users are left; the others' answers are complete.
    """
    low, width, number, block_scale, norm, lost, arithmetic, later = block
    scales, norms, errors = users
    floors, counts, lowers, uppers, founds = candidates
    k, queries, targets, order, rank_of, scores, places = exact
    pointers, seen_users, seen_columns, row_of, categories, cap, used = filters
    for i in range(pointers[number], pointers[number + 1]):
        row = row_of[seen_users[i]]
        if row >= 0:
            product[row, seen_columns[i]] = banned
    product[:, width:] = banned
    room = founds.shape[1]
    left = 0
    for a in range(len(active)):
        user = active[a]
        scale = block_scale * scales[user]
        margin = errors[user] * (norm + lost) + norms[user] * (lost + arithmetic * norm)
        floor, count = floors[user], counts[user]
        row = product[a]
        lower, upper, found = lowers[user], uppers[user], founds[user]
        if len(maxima):
            first = first_floor(row, product.shape[1], k, maxima)
            if first > banned:
                floor = max(floor, scale * np.float64(first) - margin)
        limit = (floor - margin) / scale
        whole = np.int32(min(max(np.floor(limit) - 1.0, -2147483648.0), 2147483647.0))
        real = np.float32(limit - abs(limit) * 1e-6 - 1e-37)
        for start in range(0, product.shape[1], CHUNK):
            mask = greater_mask(row, start, whole, real)
            while mask:
                column = start + np.int64(first_bit(mask))
                mask &= mask - np.uint64(1)
                score = scale * np.float64(row[column])
                if score + margin < floor:
                    continue
                lower[count], upper[count] = score - margin, score + margin
                found[count] = low + column
                count += 1
                if count == room:
                    floor, count = _prune(
                        k, floor, count, lower, upper, found, queries, user, targets, order,
                        rank_of, scores, places, categories, cap, used,
                    )  # fmt: skip
                    limit = (floor - margin) / scale
                    whole = np.int32(min(max(np.floor(limit) - 1.0, -2147483648.0), 2147483647.0))
                    real = np.float32(limit - abs(limit) * 1e-6 - 1e-37)
        floors[user], counts[user] = floor, count
        # Cauchy-Schwarz: no later item can reach the floor.
        if norms[user] * later * (1.0 + 1e-9) >= floor:
            if left < a:
                active[left] = user
                codes[left] = codes[a]
            row_of[user] = left
            left += 1
        else:
            row_of[user] = -1
    return left


@njit_cached
def finish(candidates: Any, exact: Any, filters: Any, positions: Any, found_scores: Any) -> None:
    """Scores the candidates that are left and writes every user's list, best first."""
    floors, counts, lowers, uppers, founds = candidates
    k, queries, targets, order, _, scores, places = exact
    categories, cap, used = filters
    for user in range(len(queries)):
        lower, upper, found = lowers[user], uppers[user], founds[user]
        floor, n = floors[user], counts[user]
        if not cap and n >= k:
            floor = max(floor, near_kth(lower, n, k))
        kept = prune_below_floor(lower, upper, found, n, floor)
        score_exactly(queries, user, targets, order, found, kept, scores, places)
        sort_best_first(scores, places, kept)
        kept = apply_category_cap(places, scores, kept, k, categories, cap, used)
        for i in range(kept):
            positions[user, i] = places[i]
            found_scores[user, i] = np.float32(scores[i])
