"""Features of the candidate's metadata: its tags and numbers, compared with the user's items."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from batch_predictions.models.recommender.features.candidates import (
    CandidateBatch,
    Feature,
    FeatureSet,
    Values,
)

SUBSTITUTE_KINDS = ("category", "subcategory")
"""Kinds of tags within which one item can replace another; they have more features."""
NEVER_DAYS = 1000.0
"""Days since the user last took a tag that it never took."""


def _features(batch: CandidateBatch) -> list[Feature]:
    """Features of every kind of tag and every number that items have."""
    features: list[Feature] = []
    for kind in batch.item_features.metadata.tags:
        features.append(Feature(f"{kind}_affinity", "similar", _affinity(kind)))
        if kind not in SUBSTITUTE_KINDS:
            continue
        features.append(Feature(f"{kind}_events", "similar", _tag_events(kind)))
        features.append(Feature(f"{kind}_new_items", "similar", _tag_new_items(kind)))
        features.append(
            Feature(
                f"{kind}_days_since_last",
                "similar",
                _tag_days_since_last(kind),
                high_if_missing=True,
            )
        )
    for name in batch.item_features.metadata.numbers:
        features.append(Feature(f"{name}_value", "trend", _number(name)))
        features.append(Feature(f"{name}_user_mean", "user", _user_mean(name)))
    return features


def _affinity(kind: str) -> Callable[[CandidateBatch], Values]:
    """Log lift of the user's share of (decayed) events on the item's tags over all users'."""

    def compute(batch: CandidateBatch) -> Values:
        tags = batch.item_features.metadata.tags[kind].tocsr()
        shares = (batch.histories.matrix(90) @ tags).toarray()
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
        overall = tags.T @ batch.item_features.share("decayed_events_90")
        lift = np.log((shares + 0.01 * overall + 1e-9) / (overall + 1e-9))
        return _mean_over_tags(batch, kind, lift)

    return compute


def _mean_over_tags(batch: CandidateBatch, kind: str, values: Values) -> Values:
    """A value per user and tag, averaged over the tags of each candidate, (n, m)."""
    from batch_predictions.models.recommender.kernels.candidates import mean_tag_values

    tags = batch.item_features.metadata.tags[kind].tocsr()
    result = np.empty(batch.positions.shape, dtype=np.float32)
    values = np.ascontiguousarray(values, dtype=np.float32)
    mean_tag_values(values, tags.indptr, tags.indices, tags.data, batch.safe_positions, result)
    return result


def _tag_events(kind: str) -> Callable[[CandidateBatch], Values]:
    """The user's decayed events on the item's tags."""

    def compute(batch: CandidateBatch) -> Values:
        events = batch.histories.matrix(30) @ batch.item_features.metadata.tags[kind]
        return _mean_over_tags(batch, kind, np.log1p(events.toarray()))

    return compute


def _tag_new_items(kind: str) -> Callable[[CandidateBatch], Values]:
    """How many items of the tags the user took for the first time, decayed."""

    def compute(batch: CandidateBatch) -> Values:
        histories = batch.histories
        first_times = histories.to_csr(
            (0.5 ** (histories.days_since_first / 60.0)).astype(np.float32)
        )
        counts = first_times @ batch.item_features.metadata.tags[kind]
        return _mean_over_tags(batch, kind, np.log1p(counts.toarray()))

    return compute


def _tag_days_since_last(kind: str) -> Callable[[CandidateBatch], Values]:
    """Days since the user took any item of the tags."""

    def compute(batch: CandidateBatch) -> Values:
        histories = batch.histories
        tags = batch.item_features.metadata.tags[kind].tocsr()
        newest = np.full((histories.users, tags.shape[1]), NEVER_DAYS, dtype=np.float32)
        entry_tags = tags[histories.entry_items]
        tags_per_entry = np.diff(entry_tags.indptr)
        users = np.repeat(histories.entry_users, tags_per_entry)
        ages = np.repeat(histories.days_since_last, tags_per_entry)
        np.minimum.at(newest, (users, entry_tags.indices), ages.astype(np.float32))
        return _mean_over_tags(batch, kind, newest)

    return compute


def _number(name: str) -> Callable[[CandidateBatch], Values]:
    return lambda batch: batch.from_items(batch.item_features.metadata.numbers[name])


def _user_mean(name: str) -> Callable[[CandidateBatch], Values]:
    """Mean of the number over the history's rows; nan where none has it."""

    def compute(batch: CandidateBatch) -> Values:
        histories = batch.histories
        values = batch.item_features.metadata.numbers[name][histories.items]
        is_known = np.isfinite(values)
        sums = histories.reduce_per_user(np.where(is_known, values, 0.0), np.add, np.nan)
        counts = histories.reduce_per_user(is_known.astype(np.float64), np.add, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return batch.from_users(np.where(counts > 0, sums / counts, np.nan))

    return compute


metadata_features = FeatureSet(_features, order=50)
