"""The graph filter against its formula."""

from __future__ import annotations

import numpy as np

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators.graph_filter import GraphFilter
from batch_predictions_tests.worlds.recommenders import fit, random_rows, score_users


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
