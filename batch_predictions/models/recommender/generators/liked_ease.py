"""EASE over liked items only: those rated above the mean of all ratings."""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.recommender.base import TrainableRecommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.base import Generator
from batch_predictions.models.recommender.generators.ease import EASE, EASEParams


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
