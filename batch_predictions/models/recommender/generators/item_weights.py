"""Item-to-item weights: which history item contributes most to a score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batch_predictions.models.recommender.base import Floats, Positions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def top_contributors(histories: csr_matrix, weights: Floats, picks: Positions) -> Positions:
    """For each pick i the history item j of the largest x_j * weights[i, j] > 0, (n, k).

    Args:
        histories: x, n users x m items.
        weights: (m, m), row i for target i.
        picks: item positions, -1 for none, (n, k).

    Returns:
        Item positions, -1 where no contribution is positive.
    """
    contributors = np.full(picks.shape, -1, dtype=np.int64)
    for user in range(histories.shape[0]):
        span = slice(histories.indptr[user], histories.indptr[user + 1])
        items, amounts = histories.indices[span], histories.data[span]
        ranks = np.flatnonzero(picks[user] >= 0)
        if len(items) == 0 or len(ranks) == 0:
            continue
        parts = weights[np.ix_(picks[user, ranks], items)] * amounts
        best = parts.argmax(axis=1)
        is_positive = parts[np.arange(len(ranks)), best] > 0
        contributors[user, ranks[is_positive]] = items[best[is_positive]]
    return contributors
