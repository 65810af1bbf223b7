"""Item neighbours against dense products."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.base import TrainableRecommender
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators.item_neighbours import (
    ItemNeighbours,
    ItemNeighboursParams,
)
from batch_predictions_tests.worlds.checkerboard import AS_OF
from batch_predictions_tests.worlds.recommenders import (
    all_histories,
    fit,
    fit_named,
    item_features,
    random_rows,
    score_users,
)


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


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_neighbours_are_ranked_as_all_scores_are(exclude_seen: bool) -> None:
    """Of many neighbours, few, or none; equal sums, and items without a sum, by position."""
    random = np.random.default_rng(4)
    items, neighbours = 3_000, 200
    ids = np.argsort(random.random((items, items)), axis=1)[:, :neighbours].astype(np.int32)
    lengths = random.integers(0, neighbours + 1, items)
    ids[np.arange(neighbours) >= lengths[:, np.newaxis]] = -1
    similarity = random.integers(1, 4, ids.shape).astype(np.float32)
    item_ids = pa.array([f"i{item:04}" for item in range(items)])
    model = ItemNeighbours(
        item_ids,
        ItemNeighboursParams(newest_days=None),
        {"neighbour_ids": ids, "similarity": similarity},
    )
    rows = [
        (f"u{user:02}", int(item)) for user in range(40) for item in random.integers(0, items, user)
    ]
    columns = {
        "user_id": [user for user, _ in rows],
        "item_id": [f"i{item:04}" for _, item in rows],
        "date": [AS_OF] * len(rows),
        "events": [1.0] * len(rows),
    }
    interactions = Interactions.from_table(pa.table(columns))
    histories = all_histories(interactions, model)
    features = item_features(interactions, item_ids)
    blocked = random.random(items) < 0.3
    candidates = random.integers(-1, items, (histories.users, 300))
    for k in (0, 3, 60, 2_500):
        rules: Any = {"exclude_seen": exclude_seen, "blocked": blocked}
        found = model.propose(histories, features, k, **rules)
        expected = TrainableRecommender.propose(model, histories, features, k, **rules)
        np.testing.assert_array_equal(found.positions, expected.positions)
        scores = expected.scores_of(candidates)
        np.testing.assert_array_equal(found.scores_of(candidates), scores)
        assert (scores > 0).any() and (scores == 0).any() and np.isnan(scores).any()
