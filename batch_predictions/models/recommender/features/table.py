"""The feature table of a candidate batch: generators' scores and ranks, then all feature sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np

from batch_predictions.core.arrays import Floats
from batch_predictions.models.recommender.data.dense_scores import sorted_keys
from batch_predictions.models.recommender.features.candidate_features import (
    CandidateBatch,
    FeatureColumn,
    FeatureGroup,
    FeatureSet,
    Values,
)
from batch_predictions.tables.discovery import instances, plugins


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
    """Features of the candidates, the rows of the batch.

    Which features there are depends on the generators and on the items' metadata, so a stored model
    names its own.

    Args:
        batch: users and candidates.
        columns: the model's columns; those that the batch lacks are nan. None: all features of the
            batch.

    Returns:
        The table (rows, f), float32, in Fortran order, and its columns.
    """
    used = None if columns is None else {column.name for column in columns}
    values: dict[str, Values] = {}
    described: dict[str, FeatureColumn] = {}
    for name, scores in batch.scores.items():
        for column, compute in _score_columns(name, batch.groups[name]):
            if used is None or column.name in used:
                described[column.name] = column
                values[column.name] = batch.to_rows(compute(scores))
    for feature_set in feature_sets():
        for feature in feature_set.features(batch):
            if not (feature.applies(batch) if used is None else feature.name in used):
                continue
            described[feature.name] = FeatureColumn(
                feature.name, feature.group, feature.high_if_missing
            )
            values[feature.name] = feature.compute(batch)
    columns = list(described.values()) if columns is None else list(columns)
    by_column = np.empty((len(columns), len(batch.items)), dtype=np.float32)
    for index, column in enumerate(columns):
        by_column[index] = values.get(column.name, np.nan)
    return by_column.T, columns


def generator_columns(name: str) -> tuple[str, str]:
    """Columns of a generator: its score, and the score's rank."""
    return name, f"{name}_rank"


def _score_columns(
    name: str, group: FeatureGroup
) -> Iterator[tuple[FeatureColumn, Callable[[Floats], Values]]]:
    """The columns of a generator, each with the function of the scores (n, m) that gives it."""
    score, rank = generator_columns(name)
    yield FeatureColumn(score, group), np.asarray
    yield FeatureColumn(rank, group, high_if_missing=True), _log_rank


def _log_rank(scores: Floats) -> Values:
    """log(1 + rank) of each candidate among the user's by one generator; nan without a score."""
    from batch_predictions.models.recommender.kernels.topk import logs_of_ranks

    logs = np.log1p(np.arange(scores.shape[1])).astype(np.float32)
    ranks = np.empty(scores.shape, dtype=np.float32)
    logs_of_ranks(sorted_keys(scores), scores, logs, ranks)
    return ranks
