"""Features of the candidate's popularity: with all users, returning users, first-time takers."""

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
)
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
