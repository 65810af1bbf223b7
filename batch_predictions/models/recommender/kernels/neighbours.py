"""Item-to-item neighbours: how they are computed, summed over histories, and explained."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from batch_predictions.core.arrays import Doubles, Floats, Int32s, Int64s
from batch_predictions.core.jit import njit_cached
from batch_predictions.models.common.heaps import heap_push, heap_sort
from batch_predictions.models.common.vector_ir import (
    Builder,
    Context,
    Intrinsic,
    Signature,
    Type,
    Typing,
    Value,
    Values,
    open_arrays,
)
from batch_predictions.models.recommender.kernels.candidate_kernels import (
    products_of_items,
    scores_of_items,
)
from batch_predictions.models.recommender.kernels.topk import collect_above, topk_rows

LINE = 16
"""Numbers of four bytes in a line of the processor's caches."""
ROUNDING, SMALLEST_SUM = 1e-6, 1e-30
"""More than the relative error of a sum in single precision, and less than any sum but 0."""


@intrinsic
def _prefetch(typing: Typing, values: Type, index: Type) -> Intrinsic:
    """Asks the processor to load a line of a flat array into its caches."""
    signature = types.void(values, types.intp)

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        array = open_arrays(context, builder, signature, values, (0,))[0]
        place = cgutils.gep_inbounds(builder, array.data, values[1])
        pointer = builder.bitcast(place, cgutils.voidptr_t)
        number = ir.IntType(32)
        kinds = [pointer.type, number, number, number]
        instruction = builder.module.declare_intrinsic(
            "llvm.prefetch", kinds[:1], ir.FunctionType(ir.VoidType(), kinds)
        )
        # For reading, into the second-level cache, of data.
        builder.call(instruction, [pointer, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return signature, generate


@njit_cached
def _prefetch_neighbours(
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
        _prefetch(flat_ids, place)
        _prefetch(flat_similarity, place)


@njit_cached
def topk_neighbours(
    item_indptr: Int32s,
    item_users: Int32s,
    left: Floats,
    user_indptr: Int32s,
    user_items: Int32s,
    right: Floats,
    include_self: bool,
    start: int,
    stop: int,
    neighbour_ids: Int32s,
    similarity: Floats,
) -> None:
    """Finds the items j of the largest sum over users u of left_ui right_uj > 0 for items i.

    i goes from `start` to `stop` - 1.

    `item_indptr`, `item_users`, `left` are items x users (CSR), `user_indptr`, `user_items`,
    `right` users x items. Sums are in double precision, in the order of the users.
    """
    width, keep = neighbour_ids.shape
    sums = np.zeros(width)
    last_item = np.full(width, -1, dtype=np.int64)
    touched = np.empty(width, dtype=np.int64)
    for item in range(start, stop):
        n = 0
        for entry in range(item_indptr[item], item_indptr[item + 1]):
            user, weight = item_users[entry], left[entry]
            for user_entry in range(user_indptr[user], user_indptr[user + 1]):
                neighbour = user_items[user_entry]
                if last_item[neighbour] != item:
                    last_item[neighbour] = item
                    sums[neighbour] = 0.0
                    touched[n] = neighbour
                    n += 1
                sums[neighbour] += weight * right[user_entry]
        # Sliced here, since slices are slow in the inner loop.
        item_similarity, item_neighbours = similarity[item], neighbour_ids[item]
        size = 0
        for index in range(n):
            neighbour = touched[index]
            score = np.float32(sums[neighbour])
            if neighbour == item and not include_self:
                continue
            size = heap_push(item_similarity, item_neighbours, size, keep, score, neighbour)
        heap_sort(item_similarity, item_neighbours, size)


@njit_cached
def cooccurrence(
    sequence: Int32s,
    first: Int64s,
    last: Int64s,
    place_indptr: Int64s,
    places: Int64s,
    weights: Doubles,
    backward: float,
    start: int,
    stop: int,
    neighbour_ids: Int32s,
    similarity: Floats,
) -> None:
    """Finds the items j that most often occur near each item i in sequences, `start` <= i < `stop`.

    `sequence` holds the items of all users, one user after the other, in the order of time;
    `first` and `last` (len(sequence),) bound the user of each place; `place_indptr`, `places` are
    the places of each item (CSR). The similarity is the sum of weights[distance], times `backward`
    where j precedes i, over the root of the product of both items' numbers of places.
    """
    width, keep = neighbour_ids.shape
    reach = len(weights) - 1
    sums = np.zeros(width)
    last_item = np.full(width, -1, dtype=np.int64)
    touched = np.empty(width, dtype=np.int64)
    for item in range(start, stop):
        n = 0
        for entry in range(place_indptr[item], place_indptr[item + 1]):
            place = places[entry]
            low, high = max(first[place], place - reach), min(last[place], place + reach + 1)
            for near in range(low, high):
                neighbour = sequence[near]
                if neighbour == item:
                    continue
                if last_item[neighbour] != item:
                    last_item[neighbour] = item
                    sums[neighbour] = 0.0
                    touched[n] = neighbour
                    n += 1
                if near > place:
                    sums[neighbour] += weights[near - place]
                else:
                    sums[neighbour] += backward * weights[place - near]
        count = place_indptr[item + 1] - place_indptr[item]
        # Sliced here, since slices are slow in the inner loop.
        item_similarity, item_neighbours = similarity[item], neighbour_ids[item]
        size = 0
        for index in range(n):
            neighbour = touched[index]
            product = count * (place_indptr[neighbour + 1] - place_indptr[neighbour])
            score = np.float32(sums[neighbour] / np.sqrt(float(product)))
            size = heap_push(item_similarity, item_neighbours, size, keep, score, neighbour)
        heap_sort(item_similarity, item_neighbours, size)


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
                _prefetch_neighbours(flat_ids, flat_similarity, columns[entry + 1], width)
            for rank in range(width):
                neighbour = neighbour_ids[item, rank]
                if neighbour < 0:
                    break
                out[user, neighbour] += weight * similarity[item, rank]


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
        sums[:] = 0.0
        user_indptr = indptr[user : user + 2]
        add_neighbours(user_indptr, columns, weights, neighbour_ids, similarity, sums)
        for entry in range(masked_indptr[user], masked_indptr[user + 1]):
            sums[0, masked_items[entry]] = np.nan
        for position in blocked_items:
            sums[0, position] = np.nan
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
        sums[:] = 0.0
        user_indptr = indptr[user : user + 2]
        add_neighbours(user_indptr, columns, weights, neighbour_ids, similarity, sums)
        for entry in range(masked_indptr[user], masked_indptr[user + 1]):
            sums[0, masked_items[entry]] = np.nan
        for position in blocked_items:
            sums[0, position] = np.nan
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


@njit_cached
def top_contributor(
    indptr: Int32s,
    columns: Int32s,
    weights: Floats,
    neighbour_ids: Int32s,
    similarity: Floats,
    picks: Int64s,
    out: Int64s,
) -> None:
    """Finds the history item of the largest weight x similarity for each pick (n, k), -1 if none.

    A user's picks are distinct.

    Args:
        indptr, columns, weights: histories, n users x m items (CSR).
        neighbour_ids: positions of each item's neighbours, -1 at the end, (m, neighbours).
        similarity: of the neighbours, (m, neighbours).
        picks: item positions, -1 for none, (n, k).
        out: receives item positions, (n, k).
    """
    width = neighbour_ids.shape[1]
    flat_ids, flat_similarity = neighbour_ids.ravel(), similarity.ravel()
    rank_of_item = np.full(len(neighbour_ids), -1, dtype=np.int32)
    largest = np.empty(picks.shape[1])
    for user in range(picks.shape[0]):
        out[user] = -1
        largest[:] = 0.0
        n = 0
        for rank in range(picks.shape[1]):
            if picks[user, rank] >= 0:
                rank_of_item[picks[user, rank]] = rank
                n += 1
        if n == 0:
            continue
        for entry in range(indptr[user], indptr[user + 1]):
            item = columns[entry]
            if entry + 1 < indptr[user + 1]:
                _prefetch_neighbours(flat_ids, flat_similarity, columns[entry + 1], width)
            for neighbour in range(width):
                position = neighbour_ids[item, neighbour]
                if position < 0:
                    break
                rank = rank_of_item[position]
                if rank < 0:
                    continue
                part = weights[entry] * similarity[item, neighbour]
                if part > largest[rank]:
                    largest[rank] = part
                    out[user, rank] = item
        for rank in range(picks.shape[1]):
            if picks[user, rank] >= 0:
                rank_of_item[picks[user, rank]] = -1


@njit_cached
def top_weight(
    indptr: Int32s,
    columns: Int32s,
    values: Floats,
    weights: Floats,
    picks: Int32s | Int64s,
    out: Int64s,
) -> None:
    """Finds the history item j of the largest value x weights[i, j] > 0 for each pick i, else -1.

    Args:
        indptr: first entry of each user, as in CSR, (n + 1,).
        columns: item of each entry.
        values: of each entry.
        weights: (m, m), row i for target i.
        picks: item positions, -1 for none, (n, k).
        out: receives item positions, (n, k).
    """
    for user in range(picks.shape[0]):
        for rank in range(picks.shape[1]):
            pick = picks[user, rank]
            out[user, rank] = -1
            if pick < 0:
                continue
            largest = np.float32(0.0)
            row = weights[pick]
            for entry in range(indptr[user], indptr[user + 1]):
                part = values[entry] * row[columns[entry]]
                if part > largest:
                    largest = part
                    out[user, rank] = columns[entry]


@njit_cached
def top_sum_of_weights(
    indptr: Int32s,
    columns: Int32s,
    values: Floats,
    weights: Floats,
    picks: Int64s,
    out: Int64s,
) -> None:
    """Finds the history item of the largest sum of value x weight for each pick (n, k), else -1.

    Args:
        indptr, columns, values: histories, n users x blocks of m items (CSR).
        weights: of each column for each item, (blocks x m, m).
        picks: item positions, -1 for none, (n, k).
        out: receives item positions, (n, k).
    """
    width = weights.shape[1]
    parts = np.zeros(width)
    for user in range(picks.shape[0]):
        first, last = indptr[user], indptr[user + 1]
        for rank in range(picks.shape[1]):
            pick = picks[user, rank]
            out[user, rank] = -1
            if pick < 0:
                continue
            for entry in range(first, last):
                parts[columns[entry] % width] += values[entry] * weights[columns[entry], pick]
            largest = 0.0
            for entry in range(first, last):
                item = columns[entry] % width
                if parts[item] > largest or (parts[item] == largest > 0 and item < out[user, rank]):
                    largest = parts[item]
                    out[user, rank] = item
            for entry in range(first, last):
                parts[columns[entry] % width] = 0.0
