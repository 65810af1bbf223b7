"""Features of the candidate's popularity: with all users, returning users, first-time takers."""

from __future__ import annotations

from collections.abc import Callable

from batch_predictions.models.recommender.data.item_features import (
    FIRST_TIME_HALF_LIVES,
    POPULARITY_HALF_LIVES,
    RETURNING_HALF_LIVES,
)
from batch_predictions.models.recommender.features.candidates import (
    CandidateBatch,
    Feature,
    FeatureSet,
    Values,
    has_other_types,
)


def _log_share(stat: str) -> Callable[[CandidateBatch], Values]:
    """Logarithm of a statistic's share of its sum over all items."""
    return lambda batch: batch.from_items(batch.item_features.log_share(stat))


def _ratio(numerator: str, denominator: str, prior: float) -> Callable[[CandidateBatch], Values]:
    """Ratio of two statistics, (a + prior) / (b + 1)."""

    def compute(batch: CandidateBatch) -> Values:
        stats = batch.item_features.stats
        return batch.from_items((stats[numerator] + prior) / (stats[denominator] + 1.0))

    return compute


def _repurchase_rate(batch: CandidateBatch) -> Values:
    """Recent events of users who had taken the item before, per user of the item."""
    stats = batch.item_features.stats
    repeated = stats["returning_events_30"] - stats["first_time_events_30"]
    return batch.from_items(repeated / (stats["users"] + 3.0))


def _days_since_first(batch: CandidateBatch) -> Values:
    """Days since anybody first took the item."""
    return batch.from_items(batch.item_features.stats["days_since_first"])


FEATURES = (
    *(
        Feature(f"popularity_{days}d", "trend", _log_share(f"decayed_events_{days}"))
        for days in POPULARITY_HALF_LIVES
    ),
    *(
        Feature(f"returning_popularity_{days}d", "trend", _log_share(f"returning_events_{days}"))
        for days in RETURNING_HALF_LIVES
    ),
    *(
        Feature(f"first_time_popularity_{days}d", "trend", _log_share(f"first_time_events_{days}"))
        for days in FIRST_TIME_HALF_LIVES
    ),
    Feature("first_time_share", "trend", _ratio("first_time_events_30", "decayed_events_30", 0.1)),
    Feature(
        "first_time_trend", "trend", _ratio("first_time_events_14", "first_time_events_90", 0.1)
    ),
    Feature("repurchase_rate", "trend", _repurchase_rate),
    Feature("popularity", "trend", _log_share("events")),
    Feature("popularity_trend", "trend", _ratio("decayed_events_14", "decayed_events_90", 0.1)),
    Feature("returning_share", "trend", _ratio("returning_events_14", "decayed_events_14", 0.1)),
    Feature("events_per_user", "trend", _ratio("events", "users", 0.0)),
    Feature("item_days_since_first", "trend", _days_since_first, high_if_missing=True),
    Feature("target_popularity", "trend", _log_share("targets"), applies=has_other_types),
    Feature(
        "target_popularity_14d", "trend", _log_share("decayed_targets_14"), applies=has_other_types
    ),
    Feature("target_rate", "trend", _ratio("targets", "events", 0.1), applies=has_other_types),
)
item_features = FeatureSet(lambda batch: FEATURES, order=20)
