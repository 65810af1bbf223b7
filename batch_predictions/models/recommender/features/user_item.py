"""Features of the user, and of the user's own interactions with the candidate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from batch_predictions.models.recommender.features.candidate_features import (
    CandidateBatch,
    Feature,
    FeatureSet,
    Values,
    has_other_types,
)


def _days(batch: CandidateBatch) -> Values:
    """Days on which the user took the item."""
    return batch.from_entries(batch.histories.days_per_entry.astype(np.float64), 0.0)


def _decayed_events(half_life_days: float) -> Callable[[CandidateBatch], Values]:
    """The user's decayed events on the item."""

    def compute(batch: CandidateBatch) -> Values:
        events = batch.histories.decayed_events_per_entry(half_life_days)
        return batch.from_entries(events, 0.0)

    return compute


def _event_share(half_life_days: float) -> Callable[[CandidateBatch], Values]:
    """The item's share of the user's decayed events."""

    def compute(batch: CandidateBatch) -> Values:
        histories = batch.histories
        events = histories.decayed_events_per_entry(half_life_days)
        totals = np.bincount(histories.entry_users, events, minlength=histories.users)
        shares = events / np.maximum(totals[histories.entry_users], 1e-12)
        return batch.from_entries(shares, 0.0)

    return compute


def _rate(batch: CandidateBatch) -> Values:
    """Share of the user's active days since it first took the item on which it took the item."""
    histories = batch.histories
    active_days = histories.active_days.since_first
    return batch.from_entries((histories.days_per_entry + 0.5) / (active_days + 2.0), 0.0)


def _active_days_since_last(batch: CandidateBatch) -> Values:
    """The user's active days since it last took the item."""
    return batch.from_entries(batch.histories.active_days.since_last.astype(np.float64))


def _days_since_last(batch: CandidateBatch) -> Values:
    """Days since the user last took the item."""
    return batch.from_entries(batch.histories.days_since_last.astype(np.float64))


def _gap_per_entry(batch: CandidateBatch) -> Values:
    """Mean days between the days of every entry, nan for a single day, (e,)."""
    histories = batch.histories
    days = histories.days_per_entry
    span = histories.days_since_first - histories.days_since_last
    return np.where(days > 1, span / np.maximum(days - 1, 1), np.nan)


def _mean_gap(batch: CandidateBatch) -> Values:
    """Mean days between the days on which the user took the item; nan for a single day."""
    return batch.from_entries(batch.memoize("gap_per_entry", lambda: _gap_per_entry(batch)))


def _gaps_since_last(batch: CandidateBatch) -> Values:
    """Days since the user last took the item, in mean gaps."""
    gaps = batch.memoize("gap_per_entry", lambda: _gap_per_entry(batch))
    return batch.from_entries(batch.histories.days_since_last / np.maximum(gaps, 1))


def _targets(half_life_days: float) -> Callable[[CandidateBatch], Values]:
    """The user's decayed events of a target type on the item."""

    def compute(batch: CandidateBatch) -> Values:
        targets = batch.histories.decayed_targets_per_entry(half_life_days)
        return batch.from_entries(targets, 0.0)

    return compute


def _days_since_target(batch: CandidateBatch) -> Values:
    """Days since the user's last event of a target type on the item."""
    return batch.from_entries(batch.histories.days_since_target)


FEATURES = (
    Feature("user_item_days", "own", _days),
    Feature("user_item_events_14d", "own", _decayed_events(14)),
    Feature("user_item_events_90d", "own", _decayed_events(90)),
    Feature("user_item_share_30d", "own", _event_share(30)),
    Feature("user_item_share_180d", "own", _event_share(180)),
    Feature("user_item_rate", "own", _rate),
    Feature(
        "user_item_active_days_since_last", "own", _active_days_since_last, high_if_missing=True
    ),
    Feature("user_item_days_since_last", "own", _days_since_last, high_if_missing=True),
    Feature("user_item_mean_gap", "own", _mean_gap, high_if_missing=True),
    Feature("user_item_gaps_since_last", "own", _gaps_since_last, high_if_missing=True),
    Feature("user_item_targets_14d", "own", _targets(14), applies=has_other_types),
    Feature("user_item_targets_90d", "own", _targets(90), applies=has_other_types),
    Feature(
        "user_item_days_since_target",
        "own",
        _days_since_target,
        high_if_missing=True,
        applies=has_other_types,
    ),
)
user_item_features = FeatureSet(lambda batch: FEATURES, order=10)


DAYS_INACTIVE = "user_days_inactive"
"""The feature with which the linear model's weights vary."""


def _items(batch: CandidateBatch) -> Values:
    """Distinct items of the history."""
    return batch.from_users(np.diff(batch.histories.indptr).astype(np.float64))


def _active_days(batch: CandidateBatch) -> Values:
    """Days on which the user took anything."""
    return batch.from_users(batch.histories.active_days.per_user.astype(np.float64))


def _mean_popularity(batch: CandidateBatch) -> Values:
    """Mean log popularity of the history's rows."""
    histories = batch.histories
    popularity = batch.item_features.log_share("events")[histories.items]
    sums = histories.reduce_per_user(popularity, np.add, np.nan)
    counts = np.bincount(histories.user_index, minlength=histories.users)
    return batch.from_users(sums / np.maximum(counts, 1))


def _repeat_share(batch: CandidateBatch) -> Values:
    """Share of the history's rows that are of an item taken before."""
    histories = batch.histories
    rows = np.bincount(histories.user_index, minlength=histories.users)
    return batch.from_users(1 - np.diff(histories.indptr) / np.maximum(rows, 1))


USER_FEATURES = (
    Feature("user_items", "user", _items),
    Feature("user_active_days", "user", _active_days),
    Feature(DAYS_INACTIVE, "user", lambda batch: batch.from_users(batch.days_inactive)),
    Feature("user_tenure_days", "user", lambda batch: batch.from_users(batch.tenure_days)),
    Feature("user_mean_popularity", "user", _mean_popularity),
    Feature("user_repeat_share", "user", _repeat_share),
)
user_features = FeatureSet(lambda batch: USER_FEATURES, order=40)
