"""Columns of the generators' scores: score and rank."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from batch_predictions.models.recommender.features.candidate_features import CandidateBatch
from batch_predictions.models.recommender.features.table import build_feature_table
from batch_predictions_tests.models.recommender.features.test_promotion_features import make_batch

NAN = np.nan
SCORES = np.array([[1, 2, 6], [5, NAN, 7], [NAN, NAN, NAN]], dtype=np.float32)


def with_scores(scores: np.ndarray, width: int = 3) -> CandidateBatch:
    batch = make_batch()
    positions = np.full((3, width), -1)
    positions[:, :3] = batch.positions
    padded = np.full((3, width), NAN, dtype=np.float32)
    padded[:, :3] = scores
    return replace(batch, positions=positions, scores={"als": padded}, groups={"als": "similar"})


def test_a_generator_has_its_score_and_its_rank() -> None:
    table, columns = build_feature_table(with_scores(SCORES))
    assert [column.name for column in columns[:2]] == ["als", "als_rank"]
    assert [column.high_if_missing for column in columns[:2]] == [False, True]
    np.testing.assert_array_equal(table[:, 0].reshape(3, 3), SCORES)
    ranks = np.log1p(np.array([[2, 1, 0], [1, NAN, 0], [NAN, NAN, NAN]]))
    np.testing.assert_allclose(table[:, 1].reshape(3, 3), ranks, rtol=1e-6)


def test_wider_batches_give_the_same_bits() -> None:
    scores = np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32)
    narrow, _ = build_feature_table(with_scores(scores))
    wide, _ = build_feature_table(with_scores(scores, 300))
    assert narrow.tobytes() == wide.tobytes()


def test_only_the_columns_of_a_model_are_computed() -> None:
    batch = with_scores(SCORES)
    _, columns = build_feature_table(batch)
    table, same = build_feature_table(batch, columns[:1])
    assert same == columns[:1] and table.shape == (9, 1)
    np.testing.assert_array_equal(table[:, 0].reshape(3, 3), SCORES)
