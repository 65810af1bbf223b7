"""Compiled lists of candidates: bounds, order, caps. See `vectors` for how it is compiled."""

from __future__ import annotations

from typing import Any

from batch_predictions.inference.topk.vectors import dot, prefetch
from batch_predictions.jit import njit_cached

AHEAD = 12
"""Rows asked for before they are needed, so that several are on their way from memory at once."""


@njit_cached
def _before(score: float, place: int, other: float, other_place: int) -> bool:
    """Whether one candidate ranks before another: the better score, then the lower position."""
    return score > other or (score == other and place < other_place)


@njit_cached
def _sink(scores: Any, places: Any, root: int, n: int) -> None:
    score, place = scores[root], places[root]
    while True:
        child = 2 * root + 1
        if child >= n:
            break
        right = child + 1
        if right < n and _before(scores[child], places[child], scores[right], places[right]):
            child = right
        if not _before(score, place, scores[child], places[child]):
            break
        scores[root], places[root] = scores[child], places[child]
        root = child
    scores[root], places[root] = score, place


@njit_cached
def sort_best_first(scores: Any, places: Any, n: int) -> None:
    """Sorts the first n candidates in place, in memory of their own (heap sort)."""
    for root in range(n // 2 - 1, -1, -1):
        _sink(scores, places, root, n)
    for end in range(n - 1, 0, -1):
        scores[0], scores[end] = scores[end], scores[0]
        places[0], places[end] = places[end], places[0]
        _sink(scores, places, 0, end)


@njit_cached
def kth_largest(values: Any, n: int, k: int) -> Any:
    """The k-th largest (from 1) of the first n values, which it moves about (quickselect)."""
    low, high, wanted = 0, n - 1, k - 1
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
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return values[wanted]


@njit_cached
def near_kth(values: Any, n: int, k: int) -> float:
    """A number that at least k of the first n values reach, and hardly more than k.

    Bisection by counting: without branches, so several times faster than selecting the k-th.
    """
    low, high = values[0], values[0]
    for i in range(n):
        low = values[i] if values[i] < low else low
        high = values[i] if values[i] > high else high
    for _ in range(12):
        middle = 0.5 * (low + high)
        reached = 0
        for i in range(n):
            reached += int(values[i] >= middle)
        if reached >= k:
            low = middle
        else:
            high = middle
        if reached == k:
            break
    return low


@njit_cached
def prune_below_floor(lower: Any, upper: Any, found: Any, n: int, floor: float) -> int:
    """Moves candidates that can reach the floor to the front; how many."""
    kept = 0
    for i in range(n):
        lower[kept], upper[kept], found[kept] = lower[i], upper[i], found[i]
        kept += int(upper[kept] >= floor)
    return kept


@njit_cached
def apply_category_cap(
    places: Any, scores: Any, n: int, k: int, categories: Any, cap: int, used: Any
) -> int:
    """Keeps of n sorted candidates the first k with at most `cap` of a category; how many."""
    kept = 0
    for i in range(n):
        if kept == k:
            break
        category = categories[places[i]] if cap else -1
        if category >= 0:
            if used[category] == cap:
                continue
            used[category] += 1
        scores[kept], places[kept] = scores[i], places[i]
        kept += 1
    if cap:
        for i in range(kept):
            if categories[places[i]] >= 0:
                used[categories[places[i]]] = 0
    return kept


@njit_cached
def score_exactly(
    queries: Any, user: int, targets: Any, order: Any, found: Any, n: int, scores: Any, places: Any
) -> None:
    for i in range(n):
        places[i] = order[found[i]]
    for i in range(min(n, AHEAD)):
        prefetch(targets, places[i])
    for i in range(n):
        if i + AHEAD < n:
            prefetch(targets, places[i + AHEAD])
        scores[i] = dot(queries, user, targets, places[i])


@njit_cached
def first_floor(row: Any, width: int, k: int, maxima: Any) -> Any:
    """A lower bound of the k-th largest product of a row.

    The row is dealt onto slots; the k-th largest of the slots' maxima has k products at or above.
    """
    slots = len(maxima)
    maxima[:] = row[:slots]
    for start in range(slots, width // slots * slots, slots):
        for i in range(slots):
            other = row[start + i]
            maxima[i] = other if other > maxima[i] else maxima[i]
    return kth_largest(maxima, slots, k)


@njit_cached
def seen_by_block(
    indptr: Any, indices: Any, rank_of: Any, width: int, pointers: Any, users: Any, columns: Any
) -> None:
    """Deals stored entries of a batch of users onto blocks of items (a counting sort)."""
    for i in range(indptr[0], indptr[-1]):
        rank = rank_of[indices[i]]
        if rank >= 0:
            pointers[rank // width + 1] += 1
    for block in range(1, len(pointers)):
        pointers[block] += pointers[block - 1]
    place = pointers.copy()
    for user in range(len(indptr) - 1):
        for i in range(indptr[user], indptr[user + 1]):
            rank = rank_of[indices[i]]
            if rank >= 0:
                block = rank // width
                users[place[block]] = user
                columns[place[block]] = rank - block * width
                place[block] += 1


@njit_cached
def first_allowed(
    k: int, rank_of: Any, indices: Any, taken: Any, categories: Any, cap: int, used: Any, out: Any
) -> int:
    """For a user of whom every score is 0: the first k positions that are allowed; how many.

    Args:
        rank_of: (m,) rank by position, -1 for what nobody is to find.
        indices: positions that the user has seen.
        taken: (m,) false everywhere, before and after.
    """
    for i in indices:
        taken[i] = True
    kept = 0
    for place in range(len(rank_of)):
        if kept == k:
            break
        if rank_of[place] < 0 or taken[place]:
            continue
        category = categories[place] if cap else -1
        if category >= 0:
            if used[category] == cap:
                continue
            used[category] += 1
        out[kept] = place
        kept += 1
    for i in indices:
        taken[i] = False
    if cap:
        for i in range(kept):
            if categories[out[i]] >= 0:
                used[categories[out[i]]] = 0
    return kept


@njit_cached
def drop_seen(found: Any, counts: Any, indptr: Any, indices: Any, rank_of: Any, taken: Any) -> None:
    """Drops what users have seen from their candidates (n, C) of ranks; `counts` are lowered.

    Args:
        taken: by rank, false everywhere, before and after.
    """
    for user in range(len(counts)):
        for i in range(indptr[user], indptr[user + 1]):
            if rank_of[indices[i]] >= 0:
                taken[rank_of[indices[i]]] = True
        kept = 0
        for i in range(counts[user]):
            rank = found[user, i]
            if not taken[rank]:
                found[user, kept] = rank
                kept += 1
        counts[user] = kept
        for i in range(indptr[user], indptr[user + 1]):
            if rank_of[indices[i]] >= 0:
                taken[rank_of[indices[i]]] = False
