"""Items promoted in the coming weeks: the most popular first, those in the user's shop before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Floats
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures, shop_of_user
from batch_predictions.models.recommender.generators.base import Generator
from batch_predictions.models.recommender.generators.shared_scores import SharedScoresRecommender


@dataclass(frozen=True)
class PromotedItemsParams:
    """Parameters of the generator PromotedItems.

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

    def segment_of_user(
        self, histories: Histories, item_features: ItemFeatures | None
    ) -> npt.NDArray[np.int64]:
        """Numbers each user's shop from 1 on, (n,).

        0 for users without one; -1 where no promotions are known.
        """
        if item_features is None or item_features.promotions is None:
            return np.full(histories.users, -1)
        return 1 + shop_of_user(histories, item_features)

    def segment_scores(self, segment: int, item_features: ItemFeatures | None) -> Floats:
        """Scores of promoted items, nan for all others, (m,).

        Popularity times the share of shops that promote the item, summed over weeks, plus the
        popularity for each week in which the user's own shop does.
        """
        assert item_features is not None and item_features.promotions is not None
        promotions = item_features.promotions
        strength, by_shop = promotions.strength, promotions.weeks_by_shop
        popularity = item_features.share(self.params.popularity_stat)
        scores = np.where(strength > 0, popularity * (0.1 + strength), np.nan).astype(np.float32)
        if segment > 0:
            entries = slice(*by_shop.indptr[segment - 1 : segment + 1])
            items = by_shop.indices[entries]
            scores[items] += popularity[items] * by_shop.data[entries]
        return scores


promoted = Generator(
    "promoted",
    PromotedItems,
    "promotion",
    params_for_new_items=PromotedItemsParams("first_time_events_14"),
    params_for_repeats=PromotedItemsParams("decayed_events_14"),
    requires=("promotions",),
    order=120,
)
