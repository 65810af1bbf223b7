"""Dense scores of users and items: by batches, masked, with the same bits whatever the batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.models.recommender.data.histories import Histories, spans

Floats: TypeAlias = npt.NDArray[np.float32]

DENSE_SCORES_MB = 128
"""Memory of the dense scores of one batch of users, MiB."""


def inner_products(queries: Floats, targets: Floats) -> Floats:
    """queries @ targets.T, (n, m); each product has the same bits whatever the batch."""
    from batch_predictions.models.recommender.kernels.candidates import inner_products_by_row

    result = np.empty((len(queries), len(targets)), dtype=np.float32)
    inner_products_by_row(
        np.ascontiguousarray(queries, dtype=np.float32),
        np.ascontiguousarray(targets, dtype=np.float32),
        result,
    )
    return result


def user_batches(
    histories: Histories, scores_per_user: int | None = None
) -> Iterator[tuple[int, int, Histories]]:
    """Ranges of users whose dense scores fit `DENSE_SCORES_MB`, with their histories.

    Args:
        histories: all users.
        scores_per_user: dense scores held per user; None: two per item, the model's and a copy.
    """
    scores = 2 * histories.width if scores_per_user is None else scores_per_user
    size = DENSE_SCORES_MB * 2**20 // (4 * max(scores, 1))
    for start, stop in spans(histories.users, int(np.clip(size, 16, 256))):
        yield start, stop, histories.slice_users(start, stop)


def mask_scores(
    scores: Floats,
    histories: Histories,
    exclude_seen: bool,
    blocked: npt.NDArray[np.bool_] | None,
) -> Floats:
    """Scores (n, m) with nan for blocked items and, if asked, seen items.

    Args:
        scores: overwritten where it can be, copied where it is read-only.
        histories: of the n users.
        exclude_seen: whether items of the history are masked.
        blocked: true for items that are masked for all, (m,).
    """
    scores = np.require(scores, np.float32, ["C", "W"])
    if exclude_seen:
        seen = histories.entry_is_seen
        scores[histories.entry_users[seen], histories.entry_items[seen]] = np.nan
    if blocked is not None and blocked.any():
        scores[:, np.flatnonzero(blocked)] = np.nan
    return scores


def argsort_descending(scores: Floats) -> npt.NDArray[np.int64]:
    """The columns of each row, best first, (n, m); equal scores by column, nan and -inf last."""
    # Zero added: -0 becomes 0, of which the bits are compared.
    bits = (np.where(np.isnan(scores), -np.inf, scores) + np.float32(0.0)).view(np.uint32)
    sign = np.uint32(1 << 31)
    # As integers, the bits of negative numbers fall as the numbers rise.
    ascending = np.where(bits & sign, ~bits, bits | sign)
    columns = np.arange(scores.shape[1], dtype=np.uint64)
    # Sorted with the column in the lower half: numpy sorts integers many times as fast as it
    # sorts indices.
    keys = np.sort((~ascending).astype(np.uint64) << np.uint64(32) | columns, axis=1)
    return (keys & np.uint64(2**32 - 1)).astype(np.int64)
