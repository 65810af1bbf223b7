"""EASE: each item's score is a linear sum over the items of the history.

Steck (2019), "Embarrassingly Shallow Autoencoders for Sparse Data": with X users x items, the B
that minimises |X - XB|^2 + l2 |B|^2 under diag(B) = 0 has the closed form B_ij = -P_ij / P_jj,
P = (X'X + l2 I)^-1. One Cholesky inverse of items x items: n^3 operations and 8 n^2 bytes, hence
`max_items`.
"""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.recommender.base import Floats, Linear, Positions
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BLOCK = 512
"""Items per block of the Gram matrix: bounds the sparse product to BLOCK x max_items."""


class EASE(Linear):
    """Knows the `max_items` items with most events; the others it never recommends."""

    kind = "ease"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """`l2` is the ridge, in units of (transformed) events squared; `max_items` the cut;
        `transform` is `log1p` (counts matter) or `binary`; `history_half_life_days` weighs events
        by age, here and in the histories that are scored."""
        l2 = float(params.pop("l2", 300.0))
        max_items = int(params.pop("max_items", 5000))
        transform = str(params.pop("transform", "log1p"))
        half_life_days: float | None = params.pop("history_half_life_days", None)
        if params:
            raise TypeError(f"ease: unknown parameters {sorted(params)}")
        if not l2 > 0 or max_items < 1:
            raise ValueError("ease: `l2` and `max_items` must be positive")
        interactions = interactions.decayed(half_life_days, as_of)
        kept = most_bought(interactions, max_items)
        history = _transformed(interactions.matrix()[:, kept], transform)
        return cls(
            "ease",
            interactions.item_ids.take(pa.array(kept)),
            {
                "l2": l2,
                "max_items": max_items,
                "transform": transform,
                "history_half_life_days": half_life_days,
            },
            {"weights": _weights(history, l2)},
        )

    def queries(self, histories: csr_matrix) -> Floats:
        """The transformed histories, dense, (n, len(items)): pass users in batches."""
        self._check(histories)
        dense: Floats = _transformed(histories, self.params["transform"]).toarray()
        return dense

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """x B of sparse histories, (n, len(items)): a sum over the items that are there, in their
        order, so the same bits whatever the batch."""
        matrix = histories.matrix(self.history_half_life_days)
        self._check(matrix)
        found: Floats = _transformed(matrix, self.params["transform"]) @ self._by_history
        return found

    @cached_property
    def _by_history(self) -> Floats:
        """B: row j holds what item j of a history says for every item."""
        return np.ascontiguousarray(self.targets().T)

    def targets(self) -> Floats:
        """B transposed, (len(items), len(items)): row i holds what each item says for item i."""
        return self.arrays["weights"]

    def causes(self, histories: csr_matrix, picks: Positions) -> Positions:
        """Exact: the score of i is the sum of x_j B_ji over the history; the largest part wins."""
        self._check(histories)
        history = _transformed(histories, self.params["transform"])
        return loudest_parts(history, self.targets(), picks)


def loudest_parts(history: csr_matrix, weights: Floats, picks: Positions) -> Positions:
    """For each pick i the item j of the history with the largest x_j * weights[i, j], -1 where
    none is positive, (n, k)."""
    because = np.full(picks.shape, -1, dtype=np.int64)
    for user in range(history.shape[0]):
        span = slice(history.indptr[user], history.indptr[user + 1])
        items, amounts = history.indices[span], history.data[span]
        chosen = np.flatnonzero(picks[user] >= 0)
        if len(items) == 0 or len(chosen) == 0:
            continue
        parts = weights[np.ix_(picks[user, chosen], items)] * amounts
        best = parts.argmax(axis=1)
        positive = parts[np.arange(len(chosen)), best] > 0
        because[user, chosen[positive]] = items[best[positive]]
    return because


def most_bought(interactions: Interactions, max_items: int) -> npt.NDArray[np.int64]:
    """Positions of the items with most events, ties by position, in ascending order."""
    sums = np.bincount(
        interactions.items, interactions.events, minlength=len(interactions.item_ids)
    )
    return np.sort(np.argsort(-sums, kind="stable")[:max_items])


def _transformed(histories: csr_matrix, transform: str) -> csr_matrix:
    result = histories.astype(np.float32, copy=True)
    if transform == "log1p":
        result.data = np.log1p(result.data)
    elif transform == "binary":
        result.data = np.ones_like(result.data)
    else:
        raise ValueError(f"ease: unknown transform {transform!r}; use log1p or binary")
    return result


def _weights(history: csr_matrix, l2: float) -> Floats:
    """B transposed, float32, from the transformed histories; solved in double precision."""
    from scipy.linalg import lapack
    from threadpoolctl import threadpool_limits

    items = history.shape[1]
    columns = history.astype(np.float64).tocsc()
    rows = columns.tocsr()
    # Fortran order lets LAPACK work in place: one items x items matrix of doubles in all.
    gram = np.zeros((items, items), dtype=np.float64, order="F")
    for start in range(0, items, BLOCK):
        block = columns[:, start : start + BLOCK]
        gram[:, start : start + BLOCK] = (block.T.tocsr() @ rows).toarray().T
    gram[np.diag_indices(items)] += l2
    # One thread: the result then does not depend on the number of cores.
    with threadpool_limits(limits=1, user_api="blas"):
        factor, failed = lapack.dpotrf(gram, lower=1, overwrite_a=1)
        inverse, failed_too = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed or failed_too:
        raise ValueError(f"ease: the Gram matrix is not positive definite with l2={l2:g}")
    # dpotri fills the lower triangle; with P symmetric, B'_ij = B_ji = -P_ij / P_ii.
    weights = np.empty((items, items), dtype=np.float32)
    scale = -1.0 / inverse.diagonal()
    for row in range(items):
        weights[row, :row] = inverse[row, :row] * scale[row]
        weights[row, row:] = inverse[row:, row] * scale[row]
    weights[np.diag_indices(items)] = 0.0
    return weights
