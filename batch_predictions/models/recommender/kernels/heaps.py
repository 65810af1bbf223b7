"""Heaps: of the best elements, with the worst one at the root, and to sort keys.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

from typing import Any

from batch_predictions.core.jit import njit_cached


@njit_cached
def is_worse(score: float, position: int, other_score: float, other_position: int) -> bool:
    """Returns whether an element ranks after another: by lower score, then higher position."""
    return score < other_score or (score == other_score and position > other_position)


@njit_cached
def heap_sift(scores: Any, positions: Any, n: int, root: int) -> None:
    """Moves the element at `root` down until the heap of n elements is in order again."""
    while True:
        child = 2 * root + 1
        if child >= n:
            return
        if child + 1 < n and is_worse(
            scores[child + 1], positions[child + 1], scores[child], positions[child]
        ):
            child += 1
        if not is_worse(scores[child], positions[child], scores[root], positions[root]):
            return
        scores[child], scores[root] = scores[root], scores[child]
        positions[child], positions[root] = positions[root], positions[child]
        root = child


@njit_cached
def heap_push(scores: Any, positions: Any, n: int, k: int, score: float, position: int) -> int:
    """Offers an element to a heap that holds n of at most k; returns the new n.

    Args:
        scores: of the heap's elements, (at least k,).
        positions: of the heap's elements, which break ties, (at least k,).
        n: elements in the heap.
        k: elements at most; a full heap drops the worst one.
        score: of the new element.
        position: of the new element.
    """
    if n < k:
        child = n
        scores[child], positions[child] = score, position
        while child > 0:
            parent = (child - 1) // 2
            if not is_worse(scores[child], positions[child], scores[parent], positions[parent]):
                break
            scores[child], scores[parent] = scores[parent], scores[child]
            positions[child], positions[parent] = positions[parent], positions[child]
            child = parent
        return n + 1
    if is_worse(scores[0], positions[0], score, position):
        scores[0], positions[0] = score, position
        heap_sift(scores, positions, n, 0)
    return n


@njit_cached
def heap_sort(scores: Any, positions: Any, n: int) -> None:
    """Sorts a heap of n elements, best first.

    Args:
        scores: of the heap's elements, sorted in place, (at least n,).
        positions: of the heap's elements, sorted alike, (at least n,).
        n: number of elements.
    """
    for end in range(n - 1, 0, -1):
        scores[0], scores[end] = scores[end], scores[0]
        positions[0], positions[end] = positions[end], positions[0]
        heap_sift(scores, positions, end, 0)


@njit_cached
def sort_keys(keys: Any) -> None:
    """Sorts keys, the lowest first; `np.sort` takes seconds to compile."""
    for parent in range(len(keys) // 2 - 1, -1, -1):
        _sift_key(keys, parent, len(keys))
    for end in range(len(keys) - 1, 0, -1):
        keys[0], keys[end] = keys[end], keys[0]
        _sift_key(keys, 0, end)


@njit_cached
def _sift_key(keys: Any, root: int, end: int) -> None:
    """Moves the key at `root` down in a heap of `end` keys whose root is the highest."""
    key = keys[root]
    child = 2 * root + 1
    while child < end:
        if child + 1 < end and keys[child + 1] > keys[child]:
            child += 1
        if keys[child] <= key:
            break
        keys[root] = keys[child]
        root, child = child, 2 * child + 1
    keys[root] = key
