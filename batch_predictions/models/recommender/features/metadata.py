"""Features of the candidate's metadata: its tags and numbers, compared with the user's items."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from batch_predictions.models.recommender.features.candidate_features import (
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
        from batch_predictions.models.recommender.kernels.history_kernels import tag_affinity

        overall = batch.item_features.tag_shares(kind)
        return _by_tag(batch, kind, tag_affinity, batch.histories.entry_events(90), overall)

    return compute


def _tag_events(kind: str) -> Callable[[CandidateBatch], Values]:
    """The user's decayed events on the item's tags."""

    def compute(batch: CandidateBatch) -> Values:
        from batch_predictions.models.recommender.kernels.history_kernels import tag_events

        events = batch.histories.entry_events(30)
        return _by_tag(batch, kind, tag_events, events, _number_of_tags(batch, kind))

    return compute


def _tag_new_items(kind: str) -> Callable[[CandidateBatch], Values]:
    """Declares the decayed number of items of the tags that the user took for the first time."""

    def compute(batch: CandidateBatch) -> Values:
        from batch_predictions.models.recommender.kernels.history_kernels import tag_events

        days = batch.histories.days_since_first
        events = batch.memoize("first_times", lambda: (0.5 ** (days / 60.0)).astype(np.float32))
        return _by_tag(batch, kind, tag_events, events, _number_of_tags(batch, kind))

    return compute


def _tag_days_since_last(kind: str) -> Callable[[CandidateBatch], Values]:
    """Days since the user took any item of the tags."""

    def compute(batch: CandidateBatch) -> Values:
        from batch_predictions.models.recommender.kernels.history_kernels import tag_days_since_last

        days = batch.histories.days_since_last
        n_tags = _number_of_tags(batch, kind)
        return _by_tag(batch, kind, tag_days_since_last, days, n_tags, NEVER_DAYS)

    return compute


def _by_tag(
    batch: CandidateBatch,
    kind: str,
    kernel: Callable[..., None],
    entry_values: Values,
    *parameters: object,
) -> Values:
    """A kernel's values per user and tag, averaged over the tags of each row's item, (rows,)."""
    tags = batch.item_features.metadata.tags[kind].tocsr()
    histories = batch.histories
    result = np.empty(len(batch.items), dtype=np.float32)
    kernel(
        histories.indptr,
        histories.entry_items,
        entry_values,
        (tags.indptr, tags.indices, tags.data),
        *parameters,
        batch.indptr,
        batch.items,
        result,
    )
    return result


def _number_of_tags(batch: CandidateBatch, kind: str) -> int:
    return int(batch.item_features.metadata.tags[kind].shape[1])


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
