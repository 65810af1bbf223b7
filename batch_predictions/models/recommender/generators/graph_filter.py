"""GF-CF: collaborative filtering as a graph filter, without iterative training.

Shen et al. (2021), "How Powerful is Graph Convolution for Recommendation?": a linear low-pass
filter, which is normalised co-occurrence, plus an ideal low-pass filter, a truncated SVD of the
normalised user-item graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.recommender.base import LinearRecommender, Ranking
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.base import Generator
from batch_predictions.models.recommender.generators.neighbour_tables import (
    divide_by_root_length,
    nearest_neighbours,
    neighbour_scores_of,
    scale_matrix,
    score_neighbours,
    top_neighbour_contributors,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

OVERSAMPLES, POWER_ITERATIONS = 20, 4
"""Of the randomised SVD."""


@dataclass(frozen=True)
class GraphFilterParams:
    """Parameters of the generator GraphFilter.

    Attributes:
        factors: singular vectors of the ideal filter; fewer where the graph has fewer.
        weight: weight of the ideal filter against the linear one.
        neighbours: neighbours kept per item of the linear filter.
        half_life_days: half-life of events, here and in histories; None: all count alike.
        seed: of the SVD's random projection.
    """

    factors: int = 64
    weight: float = 0.3
    neighbours: int = 200
    half_life_days: float | None = None
    seed: int = 0


class GraphFilter(LinearRecommender):
    """Neighbours by normalised co-occurrence, and singular vectors scaled by item degrees."""

    kind = "graph_filter"
    gains_by_gpu = False
    Params = GraphFilterParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: GraphFilterParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Computes the linear and the ideal filter of the user-item graph."""
        params = params or GraphFilterParams()
        # A copy: the interactions share their matrix with other models.
        events = interactions.with_decayed_events(params.half_life_days, as_of).matrix().copy()
        events.data = np.log1p(events.data)
        user_degrees = np.asarray(events.sum(axis=1), dtype=np.float64).ravel()
        item_degrees = np.asarray(events.sum(axis=0), dtype=np.float64).ravel()
        graph = scale_matrix(events, 1 / np.sqrt(user_degrees), 1 / np.sqrt(item_degrees))
        neighbour_ids, similarity = nearest_neighbours(
            graph, graph, params.neighbours, include_self=True
        )
        params = replace(params, factors=min(params.factors, min(graph.shape) - 1))
        basis = _singular_vectors(graph, params)
        root = np.sqrt(item_degrees)[:, np.newaxis]
        arrays = {
            "neighbour_ids": neighbour_ids,
            "similarity": similarity,
            "left": np.ascontiguousarray(basis / root, dtype=np.float32),
            "right": np.ascontiguousarray(params.weight * basis * root, dtype=np.float32),
        }
        return cls(interactions.item_ids, params, arrays)

    def queries(self, histories: Histories) -> Floats:
        """Histories in the space of the ideal filter's vectors, (n, factors)."""
        return np.asarray(self.user_profile(histories) @ self.arrays["left"])

    def targets(self) -> Floats:
        """The items' vectors of the ideal filter, (m, factors)."""
        return self.arrays["right"]

    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """Applies both filters to the histories, over the root of the number of items, (n, m)."""
        tables = self.arrays["neighbour_ids"], self.arrays["similarity"]
        return score_neighbours(
            self.user_profile(histories), *tables, super().scores(histories, item_features)
        )

    def _search(
        self,
        queries: Floats,
        histories: Histories,
        k: int,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None,
    ) -> Ranking:
        """Searches for the best by the ideal filter, then for those that the linear one raises."""
        from batch_predictions.models.recommender.kernels.neighbours import (
            rank_products_and_neighbours,
        )

        ranking = super()._search(queries, histories, k, exclude_seen, blocked)
        profile = self.user_profile(histories)
        masked = histories.seen_matrix() if exclude_seen else profile[:, :0]
        rank_products_and_neighbours(
            profile.indptr,
            profile.indices,
            profile.data,
            self.arrays["neighbour_ids"],
            self.arrays["similarity"],
            masked.indptr,
            masked.indices,
            np.flatnonzero(blocked) if blocked is not None else np.empty(0, dtype=np.int64),
            queries,
            np.asarray(self.targets()),
            ranking.positions,
            ranking.scores,
        )
        return ranking

    def _scores_of(self, queries: Floats, histories: Histories, items: Positions) -> Floats:
        tables = self.arrays["neighbour_ids"], self.arrays["similarity"]
        values = super()._scores_of(queries, histories, items)
        return values + neighbour_scores_of(self.user_profile(histories), *tables, items)

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Finds the history item with the largest part of each pick's linear filter, (n, k)."""
        tables = self.arrays["neighbour_ids"], self.arrays["similarity"]
        return top_neighbour_contributors(self.user_profile(histories), picks, *tables)

    def user_profile(self, histories: Histories) -> csr_matrix:
        """Logarithms of decayed events over the root of the number of items, (n, m)."""
        matrix = histories.matrix(self.params.half_life_days)
        matrix.data = np.log1p(matrix.data)
        return divide_by_root_length(matrix)


def _singular_vectors(graph: csr_matrix, params: GraphFilterParams) -> np.ndarray:
    """Right singular vectors of the graph, (items, factors), double precision.

    Randomised (Halko et al. 2011): on sparse pairs several times as fast as Lanczos iterations, and
    as good for recommendations.
    """
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    if params.factors <= 0:
        return np.zeros((graph.shape[1], 0), dtype=np.float64)
    # One thread, so that the result does not depend on the number of cores.
    with threadpool_limits(limits=1, user_api="blas"):
        basis: np.ndarray = randomized_svd(
            graph.astype(np.float64),
            params.factors,
            n_oversamples=OVERSAMPLES,
            n_iter=POWER_ITERATIONS,
            random_state=params.seed,
        )[2].T
    return basis


# Where lists may repeat items it adds nothing, and costs more than all other generators together.
graph_filter = Generator(
    "graph_filter",
    GraphFilter,
    "similar",
    scales={"weight": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0), "factors": (64, 256)},
    requires=("new_items",),
    order=30,
)
