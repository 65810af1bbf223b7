"""Columns of the generators' scores: score, rank and standardised score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from batch_predictions.models.recommender.features.candidates import CandidateBatch
from batch_predictions.models.recommender.features.table import build_feature_table
from batch_predictions_tests.models.recommender.features.test_promotions import make_batch

NAN = np.nan
SCORES = np.array([[1, 2, 6], [5, NAN, 7], [NAN, NAN, NAN]], dtype=np.float32)


def with_scores(scores: np.ndarray, width: int = 3) -> CandidateBatch:
    batch = make_batch()
    positions = np.full((3, width), -1)
    positions[:, :3] = batch.positions
    padded = np.full((3, width), NAN, dtype=np.float32)
    padded[:, :3] = scores
    return replace(batch, positions=positions, scores={"als": padded}, groups={"als": "similar"})


def test_a_score_is_standardised_among_the_users_candidates():
    table, columns = build_feature_table(with_scores(SCORES))
    assert [column.name for column in columns[:3]] == ["als", "als_rank", "als_z"]
    assert [column.is_linear for column in columns[:3]] == [True, True, False]
    np.testing.assert_array_equal(table[:, 0].reshape(3, 3), SCORES)
    z = table[:, 2].reshape(3, 3)
    deviation = np.std([1, 2, 6])
    np.testing.assert_allclose(z[0], (np.array([1, 2, 6]) - 3) / deviation, rtol=1e-6)
    np.testing.assert_allclose(z[1], [-1, NAN, 1], rtol=1e-6)
    assert np.isnan(z[2]).all()


def test_wider_batches_give_the_same_bits():
    scores = np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32)
    narrow, _ = build_feature_table(with_scores(scores))
    wide, _ = build_feature_table(with_scores(scores, 300))
    assert narrow[:, :3].tobytes() == wide[:, :3].tobytes()


def test_only_the_columns_of_a_model_are_computed():
    batch = with_scores(SCORES)
    _, columns = build_feature_table(batch)
    table, same = build_feature_table(batch, columns[:1])
    assert same == columns[:1] and table.shape == (9, 1)
    np.testing.assert_array_equal(table[:, 0].reshape(3, 3), SCORES)
