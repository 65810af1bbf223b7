"""Linear estimators of queries: known coefficients, columns that are alike, outcomes that are."""

from __future__ import annotations

import numpy as np
import pytest

from batch_predictions.models.queries.linear_estimators import ExampleMatrix, LinearEstimator


def test_a_mean_is_found_and_unknown_values_count_as_the_mean_of_their_column() -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(5_000, 2))
    target = 3 + 2 * features[:, 0] + random.normal(size=5_000)
    model = LinearEstimator.fit(ExampleMatrix(features, target), [0], is_logistic=False)
    predicted = model.predict(np.array([[0.0, 9.0], [1.0, 9.0], [np.nan, 9.0]]))
    assert predicted == pytest.approx([3, 5, 3], abs=0.1)


def test_log_odds_of_rare_outcomes_by_columns_that_are_almost_alike_are_finite() -> None:
    """Newton's steps without a search along them diverged on windows of one rare count."""
    random = np.random.default_rng(2)
    counts = random.poisson(random.choice([0.02, 0.5, 4.0], 20_000, p=[0.8, 0.15, 0.05]))
    columns = [random.binomial(counts, share) * 1.0 for share in (0.05, 0.1, 0.3, 0.5, 0.8, 1.0)]
    columns += [column * 1.3 + 0.01 * random.random(20_000) for column in columns]
    features = np.column_stack(columns).astype(np.float64)
    outcomes = (random.random(20_000) < 0.01 + 0.2 * (counts > 2)).astype(np.float64)
    examples = ExampleMatrix(features, outcomes)
    model = LinearEstimator.fit(examples, range(features.shape[1]), is_logistic=True)
    log_odds = model.predict(features)
    assert np.abs(log_odds).max() < 20
    predicted = 1 / (1 + np.exp(-log_odds))
    assert predicted.mean() == pytest.approx(outcomes.mean(), rel=0.05)
    losses = -np.log(np.where(outcomes > 0, predicted, 1 - predicted))
    rate = outcomes.mean()
    assert losses.mean() < 0.9 * -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))


@pytest.mark.parametrize("columns", [[], [0]])
def test_without_columns_or_differences_the_log_odds_are_those_of_the_rate(
    columns: list[int],
) -> None:
    features = np.arange(8.0)[:, None]
    outcomes = np.ones(8) if columns else np.array([1.0, 0, 0, 0] * 2)
    model = LinearEstimator.fit(ExampleMatrix(features, outcomes), columns, is_logistic=True)
    rate = 1 / (1 + np.exp(-model.predict(features)))
    assert rate == pytest.approx(outcomes.mean(), abs=1e-5)
