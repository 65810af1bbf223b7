"""Top-k selection, and metrics of ranked lists.

All metrics take binary relevance and return one value per user, for paired comparisons.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Positions

NDCG, NDCG_20, RECALL, MAP = "ndcg@10", "ndcg@20", "recall@20", "map@10"
HIT_RATE = "hit_rate@10"
DEPTH = 20
"""Number of ranks that `compute_metrics` needs."""


def top_k(scores: npt.NDArray[np.floating], k: int) -> Positions:
    """Positions of the k highest scores of each row, best first, (n, k).

    Of equal scores the lower position comes first. An item with -inf is never ranked; -1 fills
    rows with fewer than k ranked items.
    """
    users, items = scores.shape
    top = np.full((users, k), -1, dtype=np.int64)
    width = min(k, items)
    if users == 0 or width == 0:
        return top
    threshold = np.partition(scores, items - width, axis=1)[:, items - width, np.newaxis]
    selected = scores > threshold
    n_free = width - selected.sum(axis=1)
    tied = scores == threshold
    # In rows with more ties than free places, the first ties by position are selected.
    overfull = np.flatnonzero(tied.sum(axis=1) > n_free)
    if len(overfull):
        tie_number = np.cumsum(tied[overfull], axis=1, dtype=np.int32)
        tied[overfull] &= tie_number <= n_free[overfull, np.newaxis]
    selected |= tied
    positions = np.nonzero(selected)[1].reshape(users, width)
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
    """Recall@k: the share of all relevant items that are in the list."""
    return np.asarray(hits.sum(axis=1) / relevant, dtype=np.float64)


def average_precision(hits: npt.NDArray[np.bool_], relevant: npt.NDArray[np.integer]) -> Doubles:
    """AP@k: sum of the precision at each hit, divided by min(k, relevant); its mean is MAP@k."""
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    max_hits = np.minimum(relevant, hits.shape[1])
    return np.asarray((precision * hits).sum(axis=1) / max_hits, dtype=np.float64)


def hit_rate(hits: npt.NDArray[np.bool_]) -> Doubles:
    """Hit rate@k of each user: 1 where a relevant item is in the list, else 0."""
    return np.asarray(hits.any(axis=1), dtype=np.float64)


def compute_metrics(
    hits: npt.NDArray[np.bool_], relevant: npt.NDArray[np.integer]
) -> dict[str, Doubles]:
    """NDCG@10 and @20, Recall@20, AP@10 and hit rate@10 by name, from 20 ranks, (n, 20)."""
    return {
        NDCG: ndcg(hits[:, :10], relevant),
        NDCG_20: ndcg(hits, relevant),
        RECALL: recall(hits, relevant),
        MAP: average_precision(hits[:, :10], relevant),
        HIT_RATE: hit_rate(hits[:, :10]),
    }
