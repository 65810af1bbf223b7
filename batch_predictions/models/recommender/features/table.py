"""The feature table of a candidate batch: generators' scores and ranks, then all feature sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np

from batch_predictions.discovery import instances, plugins
from batch_predictions.models.recommender.base import Floats
from batch_predictions.models.recommender.features.candidates import (
    CandidateBatch,
    FeatureColumn,
    FeatureGroup,
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
        for column, compute in _score_columns(name, batch.groups[name]):
            if used is None or column.name in used:
                described[column.name], values[column.name] = column, compute(scores)
    for feature_set in feature_sets():
        for feature in feature_set.features(batch):
            if not (feature.applies(batch) if used is None else feature.name in used):
                continue
            described[feature.name] = FeatureColumn(
                feature.name, feature.group, feature.high_if_missing
            )
            values[feature.name] = feature.compute(batch)
    columns = list(described.values()) if columns is None else list(columns)
    from batch_predictions.models.recommender.kernels.candidates import rows_from_columns

    # Column by column, and turned at the end: faster than writing every row's value in place.
    by_column = np.full((len(columns), *batch.positions.shape), np.nan, dtype=np.float32)
    for index, column in enumerate(columns):
        if column.name in values:
            by_column[index] = values[column.name]
    candidates = np.flatnonzero(batch.is_candidate)
    table = np.empty((len(candidates), len(columns)), dtype=np.float32)
    rows_from_columns(by_column.reshape(len(columns), -1), candidates, table)
    return table, columns


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
    # Zero added: -0 becomes 0, of which the bits are compared.
    bits = (np.where(np.isnan(scores), -np.inf, scores) + np.float32(0.0)).view(np.uint32)
    sign = np.uint32(1 << 31)
    # The bits of negative numbers fall as the numbers rise.
    ascending = np.where(bits & sign, ~bits, bits | sign)
    columns = np.arange(scores.shape[1], dtype=np.uint64)
    # Best first, of equal scores the first: sorted as integers, which is the fastest way.
    keys = np.sort((~ascending).astype(np.uint64) << np.uint64(32) | columns, axis=1)
    order = (keys & np.uint64(2**32 - 1)).astype(np.int64)
    ranks = np.empty(scores.shape, dtype=np.float64)
    np.put_along_axis(ranks, order, np.log1p(np.arange(scores.shape[1]))[np.newaxis], axis=1)
    return np.where(np.isnan(scores), np.nan, ranks)
