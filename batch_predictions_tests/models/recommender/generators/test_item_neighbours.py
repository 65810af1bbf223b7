"""Item neighbours against dense products."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators.item_neighbours import ItemNeighbours
from batch_predictions_tests.worlds.checkerboard import AS_OF
from batch_predictions_tests.worlds.recommenders import fit, fit_named, random_rows, score_users


def test_item_neighbours_sum_cosines_over_the_root_of_the_number_of_items() -> None:
    interactions = Interactions.from_table(random_rows(40, 20, 300))
    model = fit_named("item_neighbours", interactions)
    is_taken = (interactions.matrix().toarray() > 0).astype(np.float64)
    lengths = np.sqrt(is_taken.sum(axis=0))
    cosine = is_taken.T @ is_taken / np.outer(lengths, lengths)
    np.fill_diagonal(cosine, 0.0)
    expected = is_taken @ cosine / np.sqrt(is_taken.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(score_users(model, interactions), expected, atol=1e-5)


def test_current_neighbours_weigh_what_users_of_an_item_take_now() -> None:
    interactions = Interactions.from_table(random_rows(40, 20, 300))
    model = fit_named("current_neighbours", interactions)
    now = interactions.with_decayed_events(14, AS_OF).matrix().toarray().astype(np.float64)
    is_taken = (interactions.matrix().toarray() > 0).astype(np.float64)
    sizes = is_taken.sum(axis=1, keepdims=True)
    expected = is_taken / np.sqrt(sizes) @ ((is_taken / np.sqrt(sizes)).T @ now)
    np.testing.assert_allclose(score_users(model, interactions), expected, atol=1e-4)


def test_only_the_neighbours_that_are_kept_and_the_newest_days_count() -> None:
    table = pa.table(
        {
            "user_id": ["a", "a", "a", "b", "b"],
            "item_id": ["x", "y", "z", "x", "y"],
            "date": [AS_OF, AS_OF, AS_OF - timedelta(days=5), AS_OF, AS_OF],
            "events": [1] * 5,
        }
    )
    interactions = Interactions.from_table(table)
    nearest = fit(ItemNeighbours, interactions, neighbours=1, newest_days=None)
    # x and y are each other's nearest; z has x first, which ties with y by position.
    np.testing.assert_array_equal(nearest.arrays["neighbour_ids"][:, 0], [1, 0, 0])
    all_days = fit(ItemNeighbours, interactions, newest_days=None)
    newest = fit(ItemNeighbours, interactions, newest_days=1)
    similarity = 1 / np.sqrt(2)
    assert score_users(all_days, interactions)[0] == pytest.approx(
        np.array([1 + similarity, 1 + similarity, 2 * similarity]) / np.sqrt(3)
    )
    assert score_users(newest, interactions)[0] == pytest.approx(
        np.array([1, 1, 2 * similarity]) / np.sqrt(2)
    )
