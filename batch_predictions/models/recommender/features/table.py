"""The feature table of a candidate batch: generators' scores and ranks, then all feature sets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from batch_predictions.discovery import instances, plugins
from batch_predictions.models.recommender.base import Floats
from batch_predictions.models.recommender.features.candidates import (
    CandidateBatch,
    FeatureColumn,
    FeatureSet,
    Values,
)


def feature_sets() -> tuple[FeatureSet, ...]:
    """Every declared feature set, those of plugins included, in the order of its columns."""
    return _feature_sets(tuple(plugins()))


@cache
def _feature_sets(plugin_modules: tuple[str, ...]) -> tuple[FeatureSet, ...]:
    declared = instances(FeatureSet, "models/recommender/features/*.py")
    return tuple(sorted(declared, key=lambda feature_set: feature_set.order))


def build_feature_table(
    batch: CandidateBatch, columns: Sequence[FeatureColumn] | None = None
) -> tuple[Floats, list[FeatureColumn]]:
    """Features of the candidates, a row per (user, candidate), user by user.

    Which features there are depends on the generators and on the items' metadata, so a stored model
    names its own.

    Args:
        batch: users and candidates.
        columns: the model's columns; those that the batch lacks are nan. None: all features of the
            batch.

    Returns:
        The table (rows, f), float32, and its columns.
    """
    used = None if columns is None else {column.name for column in columns}
    values: dict[str, Values] = {}
    described: dict[str, FeatureColumn] = {}
    for name, scores in batch.scores.items():
        group = batch.groups[name]
        described[name], values[name] = FeatureColumn(name, group), scores
        rank = f"{name}_rank"
        described[rank], values[rank] = FeatureColumn(rank, group, True), _log_rank(scores)
    for feature_set in feature_sets():
        for feature in feature_set.features(batch):
            if not (feature.applies(batch) if used is None else feature.name in used):
                continue
            described[feature.name] = FeatureColumn(
                feature.name, feature.group, feature.high_if_missing
            )
            values[feature.name] = feature.compute(batch)
    columns = list(described.values()) if columns is None else list(columns)
    is_candidate = batch.is_candidate
    table = np.empty((int(is_candidate.sum()), len(columns)), dtype=np.float32)
    for index, column in enumerate(columns):
        is_present = column.name in values
        table[:, index] = values[column.name][is_candidate] if is_present else np.nan
    return table, columns


def _log_rank(scores: Floats) -> Values:
    """log(1 + rank) of each candidate among the user's by one generator; nan without a score."""
    filled = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-filled, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(scores.shape[1])[np.newaxis], axis=1)
    return np.where(np.isnan(scores), np.nan, np.log1p(ranks))
