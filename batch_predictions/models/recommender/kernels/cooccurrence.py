"""Item-to-item neighbours by co-occurrence, of users or in sequences.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

import numpy as np

from batch_predictions.core.arrays import Doubles, Floats, Int32s, Int64s
from batch_predictions.core.jit import njit_cached
from batch_predictions.models.common.heaps import heap_push, heap_sort


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
