"""The base of recommenders that score items by a table of each item's nearest neighbours."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from batch_predictions.models.recommender.base import Floats, Positions, TrainableRecommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.neighbour_tables import (
    score_neighbours,
    top_neighbour_contributors,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class NeighbourRecommender(TrainableRecommender):
    """The base class of recommenders that sum similarities to the items of a user's profile.

    Its arrays are `neighbour_ids`, item positions with -1 at the end, and `similarity`, both
    (m, neighbours).
    """

    @abstractmethod
    def user_profile(self, histories: Histories) -> csr_matrix:
        """Weights of the history's items, (n, m)."""

    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """Sums of similarity times the profile's weights, (n, m)."""
        profile = self.user_profile(histories)
        return score_neighbours(profile, self.arrays["neighbour_ids"], self.arrays["similarity"])

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Finds the profile item with the largest part of each pick's score, (n, k)."""
        return top_neighbour_contributors(
            self.user_profile(histories),
            picks,
            self.arrays["neighbour_ids"],
            self.arrays["similarity"],
        )
