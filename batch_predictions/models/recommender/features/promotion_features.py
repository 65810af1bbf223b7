"""Features of the candidate's promotions in the weeks that are known ahead."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from batch_predictions.models.recommender.data.item_features import shop_of_user
from batch_predictions.models.recommender.data.item_promotions import PLACEMENTS
from batch_predictions.models.recommender.features.candidate_features import (
    CandidateBatch,
    Feature,
    FeatureSet,
    Values,
)


def _share_of_shops(placement: str) -> Callable[[CandidateBatch], Values]:
    """The share of shops that promote the item so; nan where no promotions are known."""

    def compute(batch: CandidateBatch) -> Values:
        promotions = batch.item_features.promotions
        if promotions is None:
            return np.full(len(batch.items), np.nan)
        return batch.from_items(promotions.shares[placement])

    return compute


def _in_users_shop(placement: str) -> Callable[[CandidateBatch], Values]:
    """1 where the user's shop promotes the item so, 0 where not; nan for users without a shop."""

    def compute(batch: CandidateBatch) -> Values:
        from batch_predictions.models.recommender.kernels.history_kernels import values_of_shops

        promotions = batch.item_features.promotions
        result = np.full(len(batch.items), np.nan, dtype=np.float32)
        if promotions is None:
            return result
        shop = batch.memoize("shop", lambda: shop_of_user(batch.histories, batch.item_features))
        users = batch.memoize("users_by_shop", lambda: np.argsort(shop, kind="stable"))
        by_shop = promotions.by_shop[placement]
        values_of_shops(
            by_shop.indptr,
            by_shop.indices,
            by_shop.data,
            shop,
            users,
            by_shop.shape[1],
            batch.indptr,
            batch.items,
            result,
        )
        return result

    return compute


COMING_WEEK = (
    *(Feature(f"{name}_share", "promotion", _share_of_shops(name)) for name in PLACEMENTS),
    *(Feature(f"{name}_in_users_shop", "promotion", _in_users_shop(name)) for name in PLACEMENTS),
)


def _later_weeks(batch: CandidateBatch) -> list[Feature]:
    """The features of each known week after the coming one."""
    promotions = batch.item_features.promotions
    features: list[Feature] = []
    for week in promotions.weeks[1:] if promotions else ():
        for name in week:
            features.append(Feature(f"{name}_share", "promotion", _share_of_shops(name)))
            features.append(Feature(f"{name}_in_users_shop", "promotion", _in_users_shop(name)))
    return features


coming_week_features = FeatureSet(lambda batch: COMING_WEEK, order=30)
later_weeks_features = FeatureSet(_later_weeks, order=60)
