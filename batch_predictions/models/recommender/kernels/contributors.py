"""The item of a history that contributes most to a score.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

import numpy as np

from batch_predictions.core.arrays import Floats, Int32s, Int64s
from batch_predictions.core.jit import njit_cached
from batch_predictions.models.recommender.kernels.neighbours import prefetch_neighbours


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
                prefetch_neighbours(flat_ids, flat_similarity, columns[entry + 1], width)
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
