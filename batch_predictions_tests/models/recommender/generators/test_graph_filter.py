"""The graph filter against its formula, and its search against all scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.recommender import base
from batch_predictions.models.recommender.base import TrainableRecommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators.graph_filter import (
    GraphFilter,
    GraphFilterParams,
)
from batch_predictions_tests.worlds.recommenders import (
    all_histories,
    fit,
    item_features,
    random_rows,
    score_users,
)


def test_a_graph_filter_adds_normalised_cooccurrence_and_a_truncated_svd() -> None:
    interactions = Interactions.from_table(random_rows(40, 20, 300))
    model = fit(GraphFilter, interactions, factors=5, weight=0.3)
    x = np.log1p(interactions.matrix().toarray().astype(np.float64))
    item_roots = np.sqrt(x.sum(axis=0))
    graph = x / np.sqrt(x.sum(axis=1, keepdims=True)) / item_roots
    basis = np.linalg.svd(graph)[2][:5].T
    ideal = basis @ basis.T / item_roots[:, np.newaxis] * item_roots
    scaled = x / np.sqrt((x > 0).sum(axis=1, keepdims=True))
    expected = scaled @ (graph.T @ graph + 0.3 * ideal)
    np.testing.assert_allclose(score_users(model, interactions), expected, atol=1e-4)


class WholeNumbers(GraphFilter):
    """A graph filter whose sums are exact, so that equal scores are equal in any order."""

    def user_profile(self, histories: Histories) -> Any:
        return histories.matrix()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    users=st.integers(1, 8),
    items=st.integers(2, 90),
    neighbours=st.integers(1, 12),
    k=st.integers(1, 30),
    highest=st.sampled_from([0, 1, 40]),
    exclude_seen=st.booleans(),
)
def test_the_best_that_are_searched_for_are_those_of_all_scores(
    seed: int,
    users: int,
    items: int,
    neighbours: int,
    k: int,
    highest: int,
    exclude_seen: bool,
) -> None:
    """Planted: products that outweigh the neighbours, that equal each other, and none at all."""
    random = np.random.default_rng(seed)
    neighbours = min(neighbours, items)
    ids = np.array([random.permutation(items)[:neighbours] for _ in range(items)])
    ids[np.arange(neighbours) >= random.integers(0, neighbours + 1, (items, 1))] = -1
    arrays: dict[str, Any] = {
        "neighbour_ids": ids.astype(np.int32),
        "similarity": random.integers(1, 9, ids.shape).astype(np.float32),
        "left": random.integers(-3, 4, (items, 3)).astype(np.float32),
        "right": random.integers(-highest, highest + 1, (items, 3)).astype(np.float32),
    }
    interactions = Interactions.from_table(random_rows(users, items, 60, seed=seed))
    known = pa.array([f"i{item:03}" for item in range(items)])
    model = WholeNumbers(known, GraphFilterParams(factors=3), arrays)
    histories = all_histories(interactions, model)
    features = item_features(interactions, model.items)
    blocked = random.random(items) < random.choice([0.0, 0.3, 1.0])
    rules: Any = {"exclude_seen": exclude_seen, "blocked": blocked}
    expected = TrainableRecommender.propose(model, histories, features, k, **rules)
    expected_ranking = TrainableRecommender.rank(model, histories, features, k, **rules)
    some_items = random.integers(-1, items, (histories.users, 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "MIN_SEARCHED_ITEMS", 0)
        found = model.propose(histories, features, k, **rules)
        ranking = model.rank(histories, features, k, **rules)
    np.testing.assert_array_equal(found.positions, expected.positions)
    np.testing.assert_array_equal(ranking.positions, expected.positions)
    np.testing.assert_array_equal(ranking.scores, expected_ranking.scores)
    np.testing.assert_array_equal(found.scores_of(some_items), expected.scores_of(some_items))
