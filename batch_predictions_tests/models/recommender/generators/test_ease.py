"""EASE against its closed form."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators.ease import EASE
from batch_predictions_tests.worlds.checkerboard import AS_OF
from batch_predictions_tests.worlds.recommenders import fit, random_rows, score_users


def test_ease_solves_its_equations() -> None:
    """Steck 2019, eq. 8: B = I - P / diag(P), P the inverse of X'X + l2 I."""
    interactions = Interactions.from_table(random_rows(50, 20, 600))
    model = fit(EASE, interactions, l2=3.0)
    x = np.log1p(interactions.matrix().toarray().astype(np.float64))
    inverse = np.linalg.inv(x.T @ x + 3.0 * np.eye(x.shape[1]))
    expected = np.eye(x.shape[1]) - inverse / np.diag(inverse)
    np.testing.assert_allclose(model.arrays["weights"].T, expected, atol=1e-5)
    np.testing.assert_allclose(score_users(model, interactions), x @ expected, atol=1e-4)


def test_ease_keeps_the_items_with_most_events() -> None:
    table = pa.table(
        {
            "user_id": ["a"] * 3,
            "item_id": ["x", "y", "z"],
            "date": [AS_OF] * 3,
            "events": [5, 1, 2],
        }
    )
    model = fit(EASE, Interactions.from_table(table), max_items=2)
    assert model.items.to_pylist() == ["x", "z"]
