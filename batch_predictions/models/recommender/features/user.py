"""Features of the user, equal for all candidates: they say how to weigh the other features."""

from __future__ import annotations

import numpy as np

from batch_predictions.models.recommender.features.candidate_features import (
    CandidateBatch,
    Feature,
    FeatureSet,
    Values,
)

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


FEATURES = (
    Feature("user_items", "user", _items),
    Feature("user_active_days", "user", _active_days),
    Feature(DAYS_INACTIVE, "user", lambda batch: batch.from_users(batch.days_inactive)),
    Feature("user_tenure_days", "user", lambda batch: batch.from_users(batch.tenure_days)),
    Feature("user_mean_popularity", "user", _mean_popularity),
    Feature("user_repeat_share", "user", _repeat_share),
)
user_features = FeatureSet(lambda batch: FEATURES, order=40)
