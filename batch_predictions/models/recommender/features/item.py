"""Features of the candidate: its popularity, and its promotions in the coming weeks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.recommender.data.item_features import (
    FIRST_TIME_HALF_LIVES,
    POPULARITY_HALF_LIVES,
    RETURNING_HALF_LIVES,
    ItemFeatures,
    shop_of_user,
)
from batch_predictions.models.recommender.data.item_metadata import PLACEMENTS
from batch_predictions.models.recommender.features.candidate_features import (
    CandidateBatch,
    Feature,
    FeatureSet,
    Values,
    has_other_types,
)


def _item_feature(name: str, compute: Callable[[ItemFeatures], Doubles], **options: Any) -> Feature:
    """A feature of the item alone, computed once for all batches."""

    def compute_for(batch: CandidateBatch) -> Values:
        items = batch.item_features
        return batch.from_items(
            items.memoize(f"feature {name}", lambda: compute(items).astype(np.float32))
        )

    return Feature(name, "trend", compute_for, **options)


def _log_share(stat: str) -> Callable[[ItemFeatures], Doubles]:
    """Logarithm of a statistic's share of its sum over all items."""
    return lambda items: items.log_share(stat)


def _ratio(numerator: str, denominator: str, prior: float) -> Callable[[ItemFeatures], Doubles]:
    """Ratio of two statistics, (a + prior) / (b + 1)."""
    return lambda items: (items.stats[numerator] + prior) / (items.stats[denominator] + 1.0)


def _repurchase_rate(items: ItemFeatures) -> Doubles:
    """Recent events of users who had taken the item before, per user of the item."""
    repeated = items.stats["returning_events_30"] - items.stats["first_time_events_30"]
    return repeated / (items.stats["users"] + 3.0)


def _days_since_first(items: ItemFeatures) -> Doubles:
    """Days since anybody first took the item."""
    return items.stats["days_since_first"]


FEATURES = (
    *(
        _item_feature(f"popularity_{days}d", _log_share(f"decayed_events_{days}"))
        for days in POPULARITY_HALF_LIVES
    ),
    *(
        _item_feature(f"returning_popularity_{days}d", _log_share(f"returning_events_{days}"))
        for days in RETURNING_HALF_LIVES
    ),
    *(
        _item_feature(f"first_time_popularity_{days}d", _log_share(f"first_time_events_{days}"))
        for days in FIRST_TIME_HALF_LIVES
    ),
    _item_feature("first_time_share", _ratio("first_time_events_30", "decayed_events_30", 0.1)),
    _item_feature("first_time_trend", _ratio("first_time_events_14", "first_time_events_90", 0.1)),
    _item_feature("repurchase_rate", _repurchase_rate),
    _item_feature("popularity", _log_share("events")),
    _item_feature("popularity_trend", _ratio("decayed_events_14", "decayed_events_90", 0.1)),
    _item_feature("returning_share", _ratio("returning_events_14", "decayed_events_14", 0.1)),
    _item_feature("events_per_user", _ratio("events", "users", 0.0)),
    _item_feature("item_days_since_first", _days_since_first, high_if_missing=True),
    _item_feature("target_popularity", _log_share("targets"), applies=has_other_types),
    _item_feature(
        "target_popularity_14d", _log_share("decayed_targets_14"), applies=has_other_types
    ),
    _item_feature("target_rate", _ratio("targets", "events", 0.1), applies=has_other_types),
)
item_features = FeatureSet(lambda batch: FEATURES, order=20)


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
