"""Item-to-item weights: which history item contributes most to a score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batch_predictions.models.recommender.base import Floats, Positions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def top_contributors(histories: csr_matrix, weights: Floats, picks: Positions) -> Positions:
    """Finds the history item j of the largest x_j * weights[i, j] > 0 for each pick i, (n, k).

    Args:
        histories: x, n users x m items.
        weights: (m, m), row i for target i.
        picks: item positions, -1 for none, (n, k).

    Returns:
        Item positions, -1 where no contribution is positive.
    """
    from batch_predictions.models.recommender.kernels.neighbours import top_weight

    contributors = np.empty(picks.shape, dtype=np.int64)
    top_weight(
        histories.indptr,
        histories.indices,
        histories.data,
        np.asarray(weights),
        np.ascontiguousarray(picks),
        contributors,
    )
    return contributors
