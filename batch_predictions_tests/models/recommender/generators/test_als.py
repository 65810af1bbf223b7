"""ALS: its fold-in and its explanations."""

from __future__ import annotations

import numpy as np

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators.als import ALS
from batch_predictions_tests.worlds.recommenders import (
    all_histories,
    fit_named,
    random_rows,
    single_user_history,
)


def test_explanations_of_als_are_the_terms_of_its_scores() -> None:
    """Without an item's confidence on the right-hand side, exactly its term is missing."""
    model = fit_named("als", Interactions.from_table(random_rows(40, 30, 400)))
    assert isinstance(model, ALS)
    histories = single_user_history(model, "i001", "i002", "i005")
    batch = next(model._batches(histories))[1]
    systems = model._systems(batch)
    items, confidences, vectors = model._history_of(batch, 0)
    targets = np.asarray(model.targets(), dtype=np.float64)
    total = targets @ np.linalg.solve(systems[0], confidences @ vectors)
    terms = np.stack(
        [
            targets @ np.linalg.solve(systems[0], c * y)
            for c, y in zip(confidences, vectors, strict=True)
        ],
        axis=1,
    )
    np.testing.assert_allclose(terms.sum(axis=1), total, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.scores(histories)[0], total, atol=1e-5)
    contributors = model.explain(histories, np.arange(len(model.items))[np.newaxis])[0]
    expected = np.where(terms.max(axis=1) > 0, items[terms.argmax(axis=1)], -1)
    np.testing.assert_array_equal(contributors, expected)


def test_als_folds_in_to_the_factors_that_implicit_would_recalculate() -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    interactions = Interactions.from_table(random_rows(40, 30, 400))
    model = fit_named("als", interactions)
    assert isinstance(model, ALS)
    implicit_model = AlternatingLeastSquares(
        factors=4, regularization=1.0, alpha=1.0, num_threads=1
    )
    implicit_model.item_factors = np.array(model.targets())
    confidence = interactions.matrix().copy()
    confidence.data = 1 + 10 * np.log1p(confidence.data)
    expected = implicit_model.recalculate_user(np.arange(confidence.shape[0]), confidence)
    queries = model.queries(all_histories(interactions, model))
    np.testing.assert_allclose(queries, expected, rtol=2e-3, atol=1e-4)
