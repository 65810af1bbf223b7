"""Similarities of item-to-item neighbours, summed over histories and ranked.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

import numpy as np

from batch_predictions.core.arrays import Floats, Int32s, Int64s
from batch_predictions.core.jit import njit_cached
from batch_predictions.models.common.heaps import heap_push, heap_sort
from batch_predictions.models.recommender.kernels.candidate_kernels import (
    products_of_items,
    scores_of_items,
)
from batch_predictions.models.recommender.kernels.topk import collect_above, topk_rows
from batch_predictions.models.recommender.kernels.vector_products import prefetch_line

LINE = 16
"""Numbers of four bytes in a line of the processor's caches."""
ROUNDING, SMALLEST_SUM = 1e-6, 1e-30
"""More than the relative error of a sum in single precision, and less than any sum but 0."""


@njit_cached
def prefetch_neighbours(
    flat_ids: Int32s, flat_similarity: Floats, item: int, neighbours: int
) -> None:
    """Has an item's neighbours loaded while those of the item before are read.

    Tables of neighbours exceed the caches, and each item of a history is elsewhere in them.

    Args:
        flat_ids, flat_similarity: of all items, (m x neighbours,).
        item: its position.
        neighbours: number of each item's neighbours.
    """
    first = np.int64(item) * neighbours
    for place in range(first, first + neighbours, LINE):
        prefetch_line(flat_ids, place)
        prefetch_line(flat_similarity, place)


@njit_cached
def add_neighbours(
    indptr: Int32s,
    columns: Int32s,
    weights: Floats,
    neighbour_ids: Int32s,
    similarity: Floats,
    out: Floats,
) -> None:
    """Adds weight of (u, i) x similarity[i, j] to out[u, neighbour_ids[i, j]].

    Args:
        indptr, columns, weights: histories, n users x m items (CSR).
        neighbour_ids: positions of each item's neighbours, -1 at the end, (m, neighbours).
        similarity: of the neighbours, (m, neighbours).
        out: sums, float32, (n, m).
    """
    width = neighbour_ids.shape[1]
    flat_ids, flat_similarity = neighbour_ids.ravel(), similarity.ravel()
    for user in range(out.shape[0]):
        for entry in range(indptr[user], indptr[user + 1]):
            item, weight = columns[entry], weights[entry]
            if entry + 1 < indptr[user + 1]:
                prefetch_neighbours(flat_ids, flat_similarity, columns[entry + 1], width)
            for rank in range(width):
                neighbour = neighbour_ids[item, rank]
                if neighbour < 0:
                    break
                out[user, neighbour] += weight * similarity[item, rank]


@njit_cached
def sum_allowed(
    indptr: Int32s,
    columns: Int32s,
    weights: Floats,
    neighbour_ids: Int32s,
    similarity: Floats,
    masked_items: Int32s,
    blocked_items: Int64s,
    sums: Floats,
) -> None:
    """Writes the sums of `add_neighbours` of one user, nan for items that are left out.

    Args:
        indptr: first and last entry of the user, (2,).
        columns, weights: histories (CSR).
        neighbour_ids: positions of each item's neighbours, -1 at the end, (m, neighbours).
        similarity: of the neighbours, (m, neighbours).
        masked_items: items that are left out of the user's list.
        blocked_items: items that no user gets.
        sums: written, (1, m).
    """
    sums[:] = 0.0
    add_neighbours(indptr, columns, weights, neighbour_ids, similarity, sums)
    for position in masked_items:
        sums[0, position] = np.nan
    for position in blocked_items:
        sums[0, position] = np.nan


@njit_cached
def rank_neighbours(
    indptr: Int32s,
    columns: Int32s,
    weights: Floats,
    neighbour_ids: Int32s,
    similarity: Floats,
    masked_indptr: Int32s,
    masked_items: Int32s,
    blocked_items: Int64s,
    positions: Int64s,
) -> None:
    """Finds the k best sums of `add_neighbours` of each user, best first, a user at a time.

    Args:
        indptr, columns, weights: histories, n users x m items (CSR).
        neighbour_ids: positions of each item's neighbours, -1 at the end, (m, neighbours).
        similarity: of the neighbours, (m, neighbours).
        masked_indptr, masked_items: items that are left out of a user's list (CSR).
        blocked_items: positions of items that no user gets.
        positions: written, -1 at the end of short lists, (n, k).
    """
    users, k = positions.shape
    sums = np.empty((1, len(neighbour_ids)), dtype=np.float32)
    values = np.empty((1, k), dtype=np.float32)
    for user in range(users):
        masked = masked_items[masked_indptr[user] : masked_indptr[user + 1]]
        user_indptr = indptr[user : user + 2]
        sum_allowed(
            user_indptr, columns, weights, neighbour_ids, similarity, masked, blocked_items, sums
        )
        topk_rows(sums, k, positions[user : user + 1], values)


@njit_cached
def rank_products_and_neighbours(
    indptr: Int32s,
    columns: Int32s,
    weights: Floats,
    neighbour_ids: Int32s,
    similarity: Floats,
    masked_indptr: Int32s,
    masked_items: Int32s,
    blocked_items: Int64s,
    queries: Floats,
    targets: Floats,
    positions: Int64s,
    scores: Floats,
) -> None:
    """Finds the k best sums of an inner product and `add_neighbours` of each user, best first.

    An item of the k best has one of the k best products, or a sum of neighbours that makes up for
    the difference to these: only such items' products are computed.

    Args:
        indptr, columns, weights: histories, n users x m items (CSR), not negative.
        neighbour_ids: positions of each item's neighbours, -1 at the end, (m, neighbours).
        similarity: of the neighbours, not negative, (m, neighbours).
        masked_indptr, masked_items: items that are left out of a user's list (CSR).
        blocked_items: positions of items that no user gets.
        queries: (n, f).
        targets: (m, f).
        positions: items of the k best products, best first, -1 at the end; overwritten, (n, k).
        scores: of the products, -inf at the end; overwritten, (n, k).
    """
    users, k = positions.shape
    sums = np.empty((1, len(neighbour_ids)), dtype=np.float32)
    near, near_sums = np.empty((1, k), dtype=np.int64), np.empty((1, k), dtype=np.float32)
    keys = np.empty(len(neighbour_ids), dtype=np.uint64)
    for user in range(users):
        masked = masked_items[masked_indptr[user] : masked_indptr[user + 1]]
        user_indptr = indptr[user : user + 2]
        sum_allowed(
            user_indptr, columns, weights, neighbour_ids, similarity, masked, blocked_items, sums
        )
        row, best, highest, size = positions[user], scores[user], scores[user, k - 1], 0
        while size < k and row[size] >= 0:
            item = row[size]
            size = heap_push(best, row, size, k, best[size] + sums[0, item], item)
            sums[0, item] = np.nan
        if size == k:
            query = queries[user : user + 1]
            # The items with the best sums first: few others may then reach the k best.
            topk_rows(sums, k, near, near_sums)
            for item in near[0]:
                _push_product(query, targets, sums[0], item, best, row, k)
            # Lower than the difference by more than the sums are rounded.
            bound = best[0] - highest - ROUNDING * (abs(best[0]) + abs(highest))
            bound = np.float32(max(bound, SMALLEST_SUM))
            for key in keys[: collect_above(sums[0], bound, k, keys)]:
                _push_product(query, targets, sums[0], np.int64(np.uint32(key)), best, row, k)
        heap_sort(best, row, size)


@njit_cached
def _push_product(
    query: Floats, targets: Floats, sums: Floats, item: int, best: Floats, row: Int64s, k: int
) -> None:
    """Offers an item to a full heap by its inner product and its sum, which becomes nan.

    Args:
        query: (1, f).
        targets: (m, f).
        sums: nan for items that are left out or were offered, (m,).
        item: a position; -1 for none.
        best, row: the heap, see `heap_push`.
        k: size of the heap.
    """
    if item < 0 or np.isnan(sums[item]):
        return
    items, product = np.empty((1, 1), dtype=np.int64), np.empty((1, 1), dtype=np.float32)
    items[0, 0] = item
    products_of_items(query, targets, items, product)
    heap_push(best, row, k, k, product[0, 0] + sums[item], item)
    sums[item] = np.nan


@njit_cached
def scores_of_neighbours(
    indptr: Int32s,
    columns: Int32s,
    weights: Floats,
    neighbour_ids: Int32s,
    similarity: Floats,
    items: Int64s,
    out: Floats,
) -> None:
    """Takes sums of `add_neighbours` of given items, a user at a time.

    Args:
        indptr, columns, weights: histories, n users x m items (CSR).
        neighbour_ids: positions of each item's neighbours, -1 at the end, (m, neighbours).
        similarity: of the neighbours, (m, neighbours).
        items: positions, -1 for none, (n, k).
        out: written, nan where there is no item, (n, k).
    """
    sums = np.empty((1, len(neighbour_ids)), dtype=np.float32)
    for user in range(items.shape[0]):
        sums[:] = 0.0
        user_indptr = indptr[user : user + 2]
        add_neighbours(user_indptr, columns, weights, neighbour_ids, similarity, sums)
        scores_of_items(sums, items[user : user + 1], out[user : user + 1])
