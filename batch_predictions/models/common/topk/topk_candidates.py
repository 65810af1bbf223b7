"""Compiled operations on a user's candidates: pruning by bounds, exact scores.

Candidates are item ranks (places in the search order) with bounds of their scores; exact scores
belong to positions (rows of the targets). `vectors` says how the functions are compiled.
"""

from __future__ import annotations

import numpy as np

from batch_predictions.core.arrays import Doubles, Flags, Floats, Int32s, Int64s
from batch_predictions.core.jit import njit_cached
from batch_predictions.models.common.topk.vectors import dot, prefetch

PREFETCH_DISTANCE = 12
"""Rows that are prefetched ahead, so that several are loaded from memory at once."""


@njit_cached
def kth_largest(values: Floats | Int32s, n: int, k: int) -> np.float32 | np.int32:
    """Finds the k-th largest (from 1) of the first n values, which are reordered (quickselect)."""
    low, high, target = 0, n - 1, k - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while pivot > values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if target <= j:
            high = j
        elif target >= i:
            low = i
        else:
            break
    return values[target]


@njit_cached
def approximate_kth_largest(values: Doubles, n: int, k: int) -> float:
    """Finds a number near the k-th largest value that at least k of the first n values reach.

    Bisection by counting: without branches, so several times faster than a selection.
    """
    low, high = values[0], values[0]
    for i in range(n):
        low = values[i] if values[i] < low else low
        high = values[i] if values[i] > high else high
    for _ in range(12):
        middle = 0.5 * (low + high)
        count = 0
        for i in range(n):
            count += int(values[i] >= middle)
        if count >= k:
            low = middle
        else:
            high = middle
        if count == k:
            break
    return low


@njit_cached
def prune_below_floor(lower: Doubles, upper: Doubles, ranks: Int32s, n: int, floor: float) -> int:
    """Moves candidates that can reach the floor to the front; returns their number.

    Args:
        lower: lower bounds of the candidates' scores, (at least n,).
        upper: upper bounds of the scores, (at least n,).
        ranks: of the candidates' items, (at least n,).
        n: number of candidates.
        floor: least upper bound of a candidate that stays.
    """
    count = 0
    for i in range(n):
        lower[count], upper[count], ranks[count] = lower[i], upper[i], ranks[i]
        count += int(upper[count] >= floor)
    return count


@njit_cached
def score_exactly(
    queries: Floats,
    user: int,
    targets: Floats,
    order: Int32s,
    ranks: Int32s,
    n: int,
    scores: Doubles,
    positions: Int64s,
) -> None:
    """Writes positions and exact scores of the first n candidates.

    Args:
        queries: (users, f) float32.
        user: row of the query.
        targets: (m, f) float32.
        order: (m,) position by rank.
        ranks: (n,) candidates.
        n: number of candidates.
        scores: (n,) written.
        positions: (n,) written.
    """
    for i in range(n):
        positions[i] = order[ranks[i]]
    for i in range(min(n, PREFETCH_DISTANCE)):
        prefetch(targets, positions[i])
    for i in range(n):
        if i + PREFETCH_DISTANCE < n:
            prefetch(targets, positions[i + PREFETCH_DISTANCE])
        scores[i] = dot(queries, user, targets, positions[i])


@njit_cached
def initial_floor(
    products: Floats | Int32s, width: int, k: int, maxima: Floats | Int32s
) -> np.float32 | np.int32:
    """A lower bound of the k-th largest product of a row.

    The products are distributed over slots; the k-th largest of the slots' maxima is reached by at
    least k products.

    Args:
        products: (width,).
        width: a multiple of the number of slots.
        k: at most the number of slots.
        maxima: one number per slot, overwritten.
    """
    slots = len(maxima)
    maxima[:] = products[:slots]
    for start in range(slots, width // slots * slots, slots):
        for i in range(slots):
            product = products[start + i]
            maxima[i] = product if product > maxima[i] else maxima[i]
    return kth_largest(maxima, slots, k)


@njit_cached
def group_seen_by_block(
    indptr: Int32s,
    indices: Int32s,
    rank_of: Int32s,
    width: int,
    pointers: Int64s,
    users: Int32s,
    columns: Int32s,
) -> None:
    """Groups the seen items of a batch of users by block of items (a counting sort).

    Args:
        indptr: (users + 1,) of a CSR matrix users x positions.
        indices: positions of the CSR matrix.
        rank_of: (m,) rank by position; -1 for blocked items.
        width: items of a block.
        pointers: (blocks + 1,) zeros; written: where each block's entries begin.
        users: written: user of every entry.
        columns: written: column of every entry within its block.
    """
    for i in range(indptr[0], indptr[-1]):
        rank = rank_of[indices[i]]
        if rank >= 0:
            pointers[rank // width + 1] += 1
    for block in range(1, len(pointers)):
        pointers[block] += pointers[block - 1]
    next_entry = pointers.copy()
    for user in range(len(indptr) - 1):
        for i in range(indptr[user], indptr[user + 1]):
            rank = rank_of[indices[i]]
            if rank >= 0:
                block = rank // width
                users[next_entry[block]] = user
                columns[next_entry[block]] = rank - block * width
                next_entry[block] += 1


@njit_cached
def first_allowed_positions(
    k: int, rank_of: Int32s, seen: Int32s, is_seen: Flags, positions: Int32s
) -> int:
    """The list of a user whose scores are all 0: the k lowest allowed positions.

    Args:
        k: length of the list.
        rank_of: (m,) rank by position; -1 for blocked items.
        seen: positions that the user has seen.
        is_seen: (m,) false, before and after.
        positions: (k,) written.

    Returns:
        The number of positions written.
    """
    for i in seen:
        is_seen[i] = True
    count = 0
    for position in range(len(rank_of)):
        if count == k:
            break
        if rank_of[position] >= 0 and not is_seen[position]:
            positions[count] = position
            count += 1
    for i in seen:
        is_seen[i] = False
    return count
