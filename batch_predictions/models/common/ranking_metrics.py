"""Top-k selection, and metrics of ranked lists.

All metrics take binary relevance and give one value per user, so that models can be compared user
by user.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Doubles: TypeAlias = npt.NDArray[np.float64]
Positions: TypeAlias = npt.NDArray[np.int64]


NDCG, RECALL, MAP = "ndcg@10", "recall@20", "map@10"
DEPTH = 20
"""Ranks that `compute_metrics` needs."""


def top_k(scores: npt.NDArray[np.floating], k: int) -> Positions:
    """Positions of the k highest scores of each row, best first, (n, k).

    Ties go to the lower position, exactly. An item with -inf is never ranked; -1 fills up.
    """
    users, items = scores.shape
    top = np.full((users, k), -1, dtype=np.int64)
    width = min(k, items)
    if users == 0 or width == 0:
        return top
    threshold = np.partition(scores, items - width, axis=1)[:, items - width, np.newaxis]
    chosen = scores > threshold
    room = width - chosen.sum(axis=1)
    tied = scores == threshold
    crowded = np.flatnonzero(tied.sum(axis=1) > room)
    if len(crowded):
        # Only the first ties by position still fit.
        order = np.cumsum(tied[crowded], axis=1, dtype=np.int32)
        tied[crowded] &= order <= room[crowded, np.newaxis]
    chosen |= tied
    positions = np.nonzero(chosen)[1].reshape(users, width)
    values = np.take_along_axis(scores, positions, axis=1)
    best_first = np.argsort(-values, axis=1, kind="stable")
    ranked = np.take_along_axis(positions, best_first, axis=1)
    ranked[np.take_along_axis(values, best_first, axis=1) == -np.inf] = -1
    top[:, :width] = ranked
    return top


def ndcg(hits: npt.NDArray[np.bool_], relevant: npt.NDArray[np.integer]) -> Doubles:
    """NDCG@k: `hits` (n, k) marks relevant ranks, `relevant` (n,) counts relevant items (> 0).

    Gain 1, discount log2(rank + 1), ideal: all of the first min(k, relevant) ranks hit
    (Järvelin and Kekäläinen 2002).
    """
    discounts = 1.0 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discounts)[np.minimum(relevant, hits.shape[1]) - 1]
    return np.asarray((hits * discounts).sum(axis=1) / ideal, dtype=np.float64)


def recall(hits: npt.NDArray[np.bool_], relevant: npt.NDArray[np.integer]) -> Doubles:
    """Recall@k: the share of all relevant items that the list holds."""
    return np.asarray(hits.sum(axis=1) / relevant, dtype=np.float64)


def average_precision(hits: npt.NDArray[np.bool_], relevant: npt.NDArray[np.integer]) -> Doubles:
    """AP@k: precision at each hit, summed, over min(k, relevant); its mean is MAP@k."""
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    best = np.minimum(relevant, hits.shape[1])
    return np.asarray((precision * hits).sum(axis=1) / best, dtype=np.float64)


def compute_metrics(
    hits: npt.NDArray[np.bool_], relevant: npt.NDArray[np.integer]
) -> dict[str, Doubles]:
    """NDCG@10, Recall@20 and AP@10 by metric name, from the first 20 ranks, (n, 20)."""
    return {
        NDCG: ndcg(hits[:, :10], relevant),
        RECALL: recall(hits, relevant),
        MAP: average_precision(hits[:, :10], relevant),
    }
