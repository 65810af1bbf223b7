"""Heaps of the best elements, whose root is the worst one, as compiled loops without allocations.

Elements have a score and a position. Of equal scores the lower position is better. Imports numba:
import this module inside functions only.
"""

from __future__ import annotations

from batch_predictions.core.arrays import Doubles, Floats, Int32s, Int64s
from batch_predictions.core.jit import njit_cached


@njit_cached
def is_worse(score: float, position: int, other_score: float, other_position: int) -> bool:
    """Returns whether an element ranks after another: by lower score, then higher position."""
    return score < other_score or (score == other_score and position > other_position)


@njit_cached
def heap_sift(scores: Floats | Doubles, positions: Int32s | Int64s, n: int, root: int) -> None:
    """Moves the element at `root` down until the heap of n elements is in order again."""
    score, position = scores[root], positions[root]
    while True:
        child = 2 * root + 1
        if child >= n:
            break
        right = child + 1
        if right < n and is_worse(scores[right], positions[right], scores[child], positions[child]):
            child = right
        if not is_worse(scores[child], positions[child], score, position):
            break
        scores[root], positions[root] = scores[child], positions[child]
        root = child
    scores[root], positions[root] = score, position


@njit_cached
def heap_push(
    scores: Floats | Doubles,
    positions: Int32s | Int64s,
    n: int,
    k: int,
    score: float,
    position: int,
) -> int:
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
        while child > 0:
            parent = (child - 1) // 2
            if not is_worse(score, position, scores[parent], positions[parent]):
                break
            scores[child], positions[child] = scores[parent], positions[parent]
            child = parent
        scores[child], positions[child] = score, position
        return n + 1
    if is_worse(scores[0], positions[0], score, position):
        scores[0], positions[0] = score, position
        heap_sift(scores, positions, n, 0)
    return n


@njit_cached
def heap_sort(scores: Floats | Doubles, positions: Int32s | Int64s, n: int) -> None:
    """Sorts a heap of n elements in place, best first."""
    for end in range(n - 1, 0, -1):
        scores[0], scores[end] = scores[end], scores[0]
        positions[0], positions[end] = positions[end], positions[0]
        heap_sift(scores, positions, end, 0)


@njit_cached
def sort_best_first(scores: Floats | Doubles, positions: Int32s | Int64s, n: int) -> None:
    """Sorts the first n elements in place, which need not be a heap."""
    for root in range(n // 2 - 1, -1, -1):
        heap_sift(scores, positions, n, root)
    heap_sort(scores, positions, n)
