"""Items promoted in the coming weeks: the most popular first, those in the user's shop before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions, positions_in
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.declaration import Generator
from batch_predictions.models.recommender.generators.shared_scores import (
    SharedScores,
    SharedScoresRecommender,
)


@dataclass(frozen=True)
class PromotedItemsParams:
    """Parameters of PromotedItems.

    Attributes:
        popularity_stat: the item statistic that orders promoted items, one of `ITEM_STATS`.
    """

    popularity_stat: str = "decayed_events_14"


class PromotedItems(SharedScoresRecommender):
    """Popularity times the share of shops that promote the item."""

    kind = "promoted"
    Params = PromotedItemsParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: PromotedItemsParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Learns which items there are; promotions are read from the day's item features."""
        return cls(interactions.item_ids, params)

    def shared_scores(
        self, histories: Histories, item_features: ItemFeatures | None
    ) -> SharedScores:
        """Scores of promoted items by the user's shop, nan for all others.

        Popularity times the share of shops that promote the item, summed over weeks, plus the
        popularity for each week in which the user's own shop does.
        """
        if item_features is None or item_features.promotions is None:
            return np.empty((0, len(self.items)), np.float32), np.full(histories.users, -1)
        promotions = item_features.promotions
        strength, by_shop = promotions.strength, promotions.weeks_by_shop
        popularity = item_features.share(self.params.popularity_stat)
        scores = np.where(strength > 0, popularity * (0.1 + strength), np.nan).astype(np.float32)
        shops, row_of_user = np.unique(shop_of_user(histories, item_features), return_inverse=True)
        rows = np.tile(scores, (len(shops), 1))
        for row in np.flatnonzero(shops >= 0):
            entries = slice(*by_shop.indptr[shops[row] : shops[row] + 2])
            items = by_shop.indices[entries]
            rows[row, items] += popularity[items] * by_shop.data[entries]
        return rows, row_of_user.ravel()


def shop_of_user(histories: Histories, item_features: ItemFeatures) -> npt.NDArray[np.int64]:
    """Each user's location among the shops with promotions, -1 where it is not, (n,)."""
    if item_features.promotions is None or histories.traits is None:
        return np.full(histories.users, -1)
    location = histories.traits["location"]
    if isinstance(location, pa.ChunkedArray):
        location = location.combine_chunks()
    return positions_in(pc.cast(location, pa.string()), item_features.promotions.shops)


promoted = Generator(
    "promoted",
    PromotedItems,
    "promotion",
    params_for_new_items=PromotedItemsParams("first_time_events_14"),
    params_for_repeats=PromotedItemsParams("decayed_events_14"),
    requires=("promotions",),
    order=120,
)
