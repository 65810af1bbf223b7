"""Predicted ratings by item neighbours: which items a user would rate highly.

Koren (2010), "Factor in the Neighbors: Scalable and Accurate Collaborative Filtering", section 3.1,
with covariances that are shrunk by the number of common raters. The generators here only score
other generators' candidates: the highest-rated items are often known to few users.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Doubles, Floats, Positions
from batch_predictions.models.recommender.base import TrainableRecommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions, sum_to_csr
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.base import Generator
from batch_predictions.models.recommender.generators.neighbour_tables import top_contributors

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class ItemKNNRatingParams:
    """Parameters of ItemKNNRating; priors are in numbers of ratings.

    Attributes:
        lift: score only the user's own part, without the item's mean.
        max_items: the items with most ratings that the model knows.
        mean_prior: of an item's mean and a user's.
        pair_prior: of the covariance of two items.
        support_prior: of the sum over a history.
    """

    lift: bool = False
    max_items: int = 3000
    mean_prior: float = 5.0
    pair_prior: float = 20.0
    support_prior: float = 1.0


class ItemKNNRating(TrainableRecommender):
    """The item's mean rating plus the user's residuals on similar items."""

    kind = "predicted_rating"
    Params = ItemKNNRatingParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: ItemKNNRatingParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Computes item means and the covariance of residuals."""
        params = params or ItemKNNRatingParams()
        rated = interactions.with_ratings()
        items = rated.most_frequent_items(params.max_items)
        ratings, is_rated = (matrix[:, items] for matrix in _rating_matrices(rated))
        prior = params.mean_prior
        counts = np.asarray(is_rated.sum(axis=0), dtype=np.float64).ravel()
        overall = float(ratings.sum()) / max(float(is_rated.sum()), 1.0)
        sums = np.asarray(ratings.sum(axis=0), dtype=np.float64).ravel()
        means = (sums + prior * overall) / (counts + prior)
        residuals = _residuals(ratings.tocsr(), means, prior)
        common_raters = (is_rated.T @ is_rated).toarray()
        similarity = (residuals.T @ residuals).toarray() / (common_raters + params.pair_prior)
        arrays = {
            "means": means.astype(np.float32),
            "similarity": similarity.astype(np.float32),
        }
        return cls(rated.item_ids.take(pa.array(items)), params, arrays)

    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """Predicts ratings, or their lifts over the item's mean, (n, m).

        A lift is 0 where the user has no ratings.
        """
        residuals = self._user_residuals(histories)
        is_rated = residuals.copy()
        is_rated.data = np.ones_like(is_rated.data)
        lifts = residuals @ self._similarity
        lifts /= is_rated @ self._absolute_similarity + np.float32(self.params.support_prior)
        scores: Floats = lifts if self.params.lift else lifts + self.arrays["means"]
        return scores

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Finds the history item whose rating raises each pick's score most, (n, k)."""
        residuals = self._user_residuals(histories)
        return top_contributors(residuals, self.arrays["similarity"], picks)

    @cached_property
    def _similarity(self) -> Floats:
        return np.ascontiguousarray(self.arrays["similarity"])

    @cached_property
    def _absolute_similarity(self) -> Floats:
        return np.abs(self._similarity)

    def _user_residuals(self, histories: Histories) -> csr_matrix:
        """Users x items: each rating less the means of its item and user, float32."""
        rated = histories.rated_above(-np.inf)
        ratings = rated.ratings if rated.ratings is not None else np.empty(0)
        means = rated.sum_per_entry(ratings) / np.maximum(rated.days_per_entry, 1)
        matrix = rated.to_csr(means.astype(np.float64))
        item_means = self.arrays["means"].astype(np.float64)
        return _residuals(matrix, item_means, self.params.mean_prior).astype(np.float32)


def _rating_matrices(rated: Interactions) -> tuple[csr_matrix, csr_matrix]:
    """Mean rating of every user and item, and ones where there is one, users x items, doubles."""
    assert rated.ratings is not None
    shape = (len(rated.user_ids), len(rated.item_ids))
    counts = sum_to_csr(rated.users, rated.items, np.ones(len(rated)), shape).astype(np.float64)
    ratings = sum_to_csr(rated.users, rated.items, rated.ratings, shape).astype(np.float64)
    ratings.data = ratings.data / counts.data
    counts.data = np.ones_like(counts.data)
    return ratings, counts


def _residuals(ratings: csr_matrix, item_means: Doubles, prior: float) -> csr_matrix:
    """Ratings less their item's mean and their user's shrunk mean residual."""
    residuals = ratings.copy()
    residuals.data = residuals.data - item_means[residuals.indices]
    counts: npt.NDArray[np.int64] = np.diff(residuals.indptr)
    users = np.repeat(np.arange(residuals.shape[0]), counts)
    sums = np.bincount(users, residuals.data, minlength=residuals.shape[0])
    residuals.data = residuals.data - (sums / (counts + prior))[users]
    return residuals


predicted_rating = Generator(
    "predicted_rating",
    ItemKNNRating,
    "similar",
    requires=("new_items", "ratings"),
    is_candidate_source=False,
    order=130,
)
rating_lift = Generator(
    "rating_lift",
    ItemKNNRating,
    "similar",
    params_for_new_items=ItemKNNRatingParams(lift=True),
    requires=("new_items", "ratings"),
    is_candidate_source=False,
    order=140,
)
