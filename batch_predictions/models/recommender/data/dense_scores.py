"""Dense scores of users and items: by batches, masked, with the same bits whatever the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Floats
from batch_predictions.models.recommender.data.histories import Histories, spans

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

DENSE_SCORES_MB = 128
"""Memory of the dense scores of one batch of users, MiB."""


@dataclass(frozen=True)
class TargetBlocks:
    """Vectors of items, transposed in blocks for any number of `inner_products`.

    Attributes:
        items: number of items.
        blocks: filled up with zeros, (blocks, terms, BLOCK_ITEMS).
    """

    items: int
    blocks: Floats

    @classmethod
    def of(cls, targets: Floats) -> TargetBlocks:
        """Builds the blocks from the items' vectors, (m, f)."""
        from batch_predictions.models.recommender.kernels.products import BLOCK_ITEMS

        items, terms = targets.shape
        shape = (-(-items // BLOCK_ITEMS), terms, BLOCK_ITEMS)
        blocks = np.zeros(shape, dtype=np.float32)
        for number, block in enumerate(blocks):
            part = targets[number * BLOCK_ITEMS :][:BLOCK_ITEMS]
            block[:, : len(part)] = part.T
        return cls(items, blocks)


@dataclass(frozen=True)
class ColumnBlocks:
    """A matrix in blocks of columns, each of which stays in the second-level cache.

    Attributes:
        columns: number of columns.
        blocks: the last filled up with zeros, (blocks, rows, BLOCK_COLUMNS).
    """

    columns: int
    blocks: Floats

    @classmethod
    def of(cls, matrix: Floats) -> ColumnBlocks:
        """Builds the blocks of a matrix, (rows, columns)."""
        from batch_predictions.models.recommender.kernels.products import BLOCK_COLUMNS

        rows, columns = matrix.shape
        blocks = np.zeros((-(-columns // BLOCK_COLUMNS), rows, BLOCK_COLUMNS), dtype=np.float32)
        for number, block in enumerate(blocks):
            part = matrix[:, number * BLOCK_COLUMNS :][:, :BLOCK_COLUMNS]
            block[:, : part.shape[1]] = part
        return cls(columns, blocks)


def sparse_products(rows: csr_matrix, matrix: ColumnBlocks) -> Floats:
    """Sparse rows times a matrix, (n, columns), with the same bits whatever the batch."""
    from batch_predictions.models.recommender.kernels.products import sparse_times_blocks

    result = np.empty((rows.shape[0], matrix.columns), dtype=np.float32)
    sparse_times_blocks(rows.indptr, rows.indices, rows.data, matrix.blocks, result)
    return result


def inner_products(queries: Floats, targets: TargetBlocks) -> Floats:
    """Inner products of queries (n, f) and items, (n, m), with the same bits whatever the batch."""
    from batch_predictions.models.recommender.kernels.products import inner_products_by_row

    result = np.empty((len(queries), targets.items), dtype=np.float32)
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    inner_products_by_row(queries, targets.blocks, result)
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
    return (sorted_keys(scores) & np.uint64(2**32 - 1)).astype(np.int64)


def sorted_keys(scores: Floats) -> npt.NDArray[np.uint64]:
    """`argsort_descending`, each column in the lower half of a key, (n, m)."""
    from batch_predictions.models.recommender.kernels.topk import order_keys

    keys = np.empty(scores.shape, dtype=np.uint64)
    order_keys(np.ascontiguousarray(scores, dtype=np.float32).view(np.uint32), keys)
    # numpy sorts integers many times as fast as it sorts indices.
    keys.sort(axis=1)
    return keys
