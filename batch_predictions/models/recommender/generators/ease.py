"""EASE: each item's score is a linear function of the history's items, or of the liked ones.

Steck (2019), "Embarrassingly Shallow Autoencoders for Sparse Data": with X users x items, the B
that minimises |X - XB|^2 + l2 |B|^2 under diag(B) = 0 has the closed form B_ij = -P_ij / P_jj,
P = (X'X + l2 I)^-1. One Cholesky inverse of items x items takes n^3 operations and 8 n^2 bytes,
so `max_items` limits it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.recommender.base import TrainableRecommender
from batch_predictions.models.recommender.data.dense_scores import ColumnBlocks, sparse_products
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.base import Generator
from batch_predictions.models.recommender.generators.neighbour_tables import top_contributors

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


BLOCK_ITEMS = 512
"""Items per block of the Gram matrix: bounds the sparse product to BLOCK_ITEMS x max_items."""


@dataclass(frozen=True)
class EASEParams:
    """Parameters of the generator EASE.

    Attributes:
        l2: ridge strength, in units of (transformed) events squared.
        max_items: the most frequent items that the model knows.
        transform: `log1p` (counts matter) or `binary`.
        history_half_life_days: half-life of events, here and in histories; None: all count alike.
    """

    l2: float = 300.0
    max_items: int = 5000
    transform: Literal["log1p", "binary"] = "log1p"
    history_half_life_days: float | None = None


class EASE(TrainableRecommender):
    """EASE over the `max_items` most frequent items; others are never recommended."""

    kind = "ease"
    Params = EASEParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: EASEParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Solves for the item-to-item weights in closed form.

        Raises:
            ValueError: `l2` or `max_items` is not positive.
        """
        params = params or EASEParams()
        if not params.l2 > 0 or params.max_items < 1:
            raise ValueError("ease: l2 and max_items must be positive")
        interactions = interactions.with_decayed_events(params.history_half_life_days, as_of)
        items = interactions.most_frequent_items(params.max_items)
        history = _transform(interactions.matrix()[:, items], params.transform)
        arrays = {"weights": _solve(history, params.l2)}
        return cls(interactions.item_ids.take(pa.array(items)), params, arrays)

    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """Multiplies sparse histories x by the weights B, (n, m).

        A sum over the items of the history in their order: the same bits whatever the batch.
        """
        return sparse_products(self._user_profile(histories), self._weight_blocks)

    @cached_property
    def _weight_blocks(self) -> ColumnBlocks:
        return ColumnBlocks.of(self.arrays["weights"].T)

    def _user_profile(self, histories: Histories) -> csr_matrix:
        self._check_width(histories)
        matrix = histories.matrix(self.params.history_half_life_days)
        return _transform(matrix, self.params.transform)

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Finds the history item with the largest part of each pick's score, (n, k).

        Exact: the score of i is the sum of x_j B_ji over the history.
        """
        # Row i of the stored weights are those for target i.
        return top_contributors(self._user_profile(histories), self.arrays["weights"], picks)


def _transform(histories: csr_matrix, transform: str) -> csr_matrix:
    result = histories.astype(np.float32, copy=True)
    if transform == "log1p":
        result.data = np.log1p(result.data)
    elif transform == "binary":
        result.data = np.minimum(result.data, 1)
    else:
        raise ValueError(f"ease: unknown transform {transform!r}; use log1p or binary")
    return result


def _solve(history: csr_matrix, l2: float) -> Floats:
    """Solves for the weights B in double precision; returns B transposed, float32."""
    from scipy.linalg import lapack
    from threadpoolctl import threadpool_limits

    items = history.shape[1]
    columns = history.astype(np.float64).tocsc()
    rows = columns.tocsr()
    # Fortran order lets LAPACK work in place: one items x items matrix of doubles in all.
    gram = np.zeros((items, items), dtype=np.float64, order="F")
    for start in range(0, items, BLOCK_ITEMS):
        block = columns[:, start : start + BLOCK_ITEMS]
        gram[:, start : start + BLOCK_ITEMS] = (block.T.tocsr() @ rows).toarray().T
    gram[np.diag_indices(items)] += l2
    # One thread, so that the result does not depend on the number of cores.
    with threadpool_limits(limits=1, user_api="blas"):
        factor, factor_failed = lapack.dpotrf(gram, lower=1, overwrite_a=1)
        inverse, inverse_failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if factor_failed or inverse_failed:
        raise ValueError(f"ease: the Gram matrix is not positive definite with l2={l2:g}")
    # dpotri fills the lower triangle; P is symmetric, so B'_ij = B_ji = -P_ij / P_ii.
    weights = np.empty((items, items), dtype=np.float32)
    scale = -1.0 / inverse.diagonal()
    for row in range(items):
        weights[row, :row] = inverse[row, :row] * scale[row]
        weights[row, row:] = inverse[row:, row] * scale[row]
    weights[np.diag_indices(items)] = 0.0
    return weights


ease = Generator(
    "ease",
    EASE,
    "similar",
    params_for_new_items=EASEParams(l2=200.0),
    params_for_repeats=EASEParams(l2=10.0, history_half_life_days=90),
    scales={"l2": (20.0, 60.0, 200.0, 600.0, 2000.0)},
    order=20,
)


class LikedEASE(TrainableRecommender):
    """EASE fitted on and applied to the items that users rated highly."""

    kind = "liked_ease"
    Params = EASEParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: EASEParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Fits EASE on the rows rated above the mean, or on all rated rows if all are equal."""
        rated = interactions.with_ratings()
        assert rated.ratings is not None
        threshold = float(rated.ratings.mean())
        liked = rated.filter(rated.ratings > threshold)
        if not len(liked):
            threshold, liked = -float(np.finfo(np.float64).max), rated
        ease = EASE.fit(liked, as_of, params)
        return cls(ease.items, ease.params, ease.arrays, fitted_values={"threshold": threshold})

    @cached_property
    def _ease(self) -> EASE:
        return EASE(self.items, self.params, self.arrays)

    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """EASE's scores from the liked items of the history, (n, m)."""
        return self._ease.scores(self._liked(histories), item_features)

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Finds the liked item with the largest part of each pick's score, (n, k)."""
        return self._ease.explain(self._liked(histories), picks)

    def _liked(self, histories: Histories) -> Histories:
        return histories.rated_above(self.fitted_values["threshold"])


liked_ease = Generator(
    "liked_ease",
    LikedEASE,
    "similar",
    params_for_new_items=EASEParams(l2=200.0),
    requires=("new_items", "ratings"),
    is_candidate_source=False,
    order=150,
)
