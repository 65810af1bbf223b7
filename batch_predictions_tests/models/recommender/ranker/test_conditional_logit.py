"""The conditional logit and its sum with trees: by hand, and at the likelihood's optimum."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import lightgbm
import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.forest.banzhaf import sum_players
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.explanations import _contributions, _Players
from batch_predictions.models.recommender.features.candidate_features import FeatureColumn
from batch_predictions.models.recommender.features.user_item import DAYS_INACTIVE
from batch_predictions.models.recommender.ranker import two_stage
from batch_predictions.models.recommender.ranker.conditional_logit import (
    CLIP_SD,
    RIDGE_PER_USER,
    ConditionalLogit,
    linear_weight,
)
from batch_predictions.models.recommender.ranker.ranker_ensemble import RankerEnsemble
from batch_predictions.models.recommender.ranker.two_stage import TwoStageRecommender
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.trainer import RankerTrainer

COLUMNS = [
    FeatureColumn("ease", "similar"),
    FeatureColumn("ease_rank", "similar", high_if_missing=True),
    FeatureColumn("user_items", "user"),
    FeatureColumn("popularity", "trend"),
]
NAN = float("nan")


def make_lists(users: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lists of ten: the odds of being taken are exp(2 ease), relative to the list."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((users, 10, 4))
    # Every list has its own level: only differences within the list matter.
    level = rng.normal(0, 50, (users, 1))
    odds = np.exp(2.0 * features[..., 0])
    features[..., 0] += level
    features[..., 2] = level
    taken = [rng.choice(10, p=row / row.sum()) for row in odds]
    labels = np.zeros((users, 10), dtype=np.int8)
    labels[np.arange(users), taken] = 1
    flat = features.reshape(-1, 4).astype(np.float32)
    return flat, labels.ravel(), np.full(users, 10)


def test_features_are_standardised_within_a_list_and_missing_values_are_worst() -> None:
    logit = ConditionalLogit((1.0, 1.0, 0.0, 1.0), (0.0,) * 4, (False, True, False, False))
    features = np.array(
        [
            [3, 0, 9, 5],
            [1, NAN, 9, 5],
            [NAN, 2, 9, 5],
            # Another list, where `ease` is missing for all.
            [NAN, 1, 7, 0],
            [NAN, 1, 7, 4],
        ],
        dtype=np.float32,
    )
    contributions = logit.contributions(features, np.array([3, 0, 2]))
    high, low = 2 / np.sqrt(2), -1 / np.sqrt(2)
    np.testing.assert_allclose(contributions[:, 0], [high, low, low, 0, 0], rtol=1e-6)
    # A missing rank counts as the last.
    np.testing.assert_allclose(contributions[:, 1], [-high, -low, -low, 0, 0], rtol=1e-6)
    assert (contributions[:, 2] == 0).all()
    np.testing.assert_allclose(contributions[:, 3], [0, 0, 0, -1, 1], rtol=1e-6)
    np.testing.assert_allclose(logit.margins(features, np.array([3, 2])), contributions.sum(axis=1))
    outlier = np.zeros((200, 4), dtype=np.float32)
    outlier[0] = 1.0
    assert logit.contributions(outlier, np.array([200])).max() == CLIP_SD


def test_margins_of_a_list_do_not_depend_on_the_other_lists() -> None:
    features, labels, sizes = make_lists(40)
    logit = ConditionalLogit.fit(features, labels, sizes, COLUMNS)
    all_margins = logit.margins(features, sizes)
    for user in (0, 17, 39):
        alone = logit.margins(features[10 * user : 10 * user + 10], np.array([10]))
        assert alone.tobytes() == all_margins[10 * user : 10 * user + 10].tobytes()
    assert logit.margins(features[:0], np.array([0])).shape == (0,)


def test_only_the_predictive_feature_gets_a_weight() -> None:
    features, labels, sizes = make_lists(1500)
    weights = ConditionalLogit.fit(features, labels, sizes, COLUMNS).weights
    # 2 per unit, a little less per standard deviation of ten values, shrunk by the ridge.
    assert 0.5 < weights[0] < 1.9
    assert weights[2] == 0 and max(abs(weights[1]), abs(weights[3])) < 0.15


def test_weights_minimise_the_penalised_loss() -> None:
    features, labels, sizes = make_lists(300, seed=4)
    # A list without a taken candidate has no likelihood.
    labels[:10] = 0
    logit = ConditionalLogit.fit(features, labels, sizes, COLUMNS)

    def loss(weights: np.ndarray) -> float:
        other = ConditionalLogit(tuple(weights), logit.inactivity_weights, logit.high_if_missing)
        margins = other.margins(features, sizes).reshape(-1, 10)
        probabilities = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
        is_taken = labels.reshape(-1, 10).astype(bool)
        return float(
            -np.log(probabilities[is_taken]).sum() + RIDGE_PER_USER * 299 / 2 * (weights**2).sum()
        )

    best = np.array(logit.weights)
    for index in (0, 1, 3):
        for step in (-0.02, 0.02):
            changed = best.copy()
            changed[index] += step
            assert loss(changed) > loss(best)


def test_weights_change_with_days_inactive() -> None:
    rng = np.random.default_rng(1)
    days = np.repeat([0.0, 90.0], 1000)
    features = rng.standard_normal((2000, 10, 3))
    features[..., 2] = days[:, None]
    # Users active today follow the first feature, users inactive for months the second.
    odds = np.exp(2.0 * np.where(days[:, None] > 0, features[..., 1], features[..., 0]))
    labels = np.zeros((2000, 10), dtype=np.int8)
    taken = [rng.choice(10, p=row / row.sum()) for row in odds]
    labels[np.arange(2000), taken] = 1
    flat, sizes = features.reshape(-1, 3).astype(np.float32), np.full(2000, 10)
    columns = [
        FeatureColumn("sequence_neighbours", "similar"),
        FeatureColumn("recent", "trend"),
        FeatureColumn(DAYS_INACTIVE, "user"),
    ]
    logit = ConditionalLogit.fit(flat, labels.ravel(), sizes, columns)
    assert logit.inactivity_column == 2
    assert logit.inactivity_weights[0] < -0.1 and logit.inactivity_weights[1] > 0.1
    magnitude = np.abs(logit.contributions(flat, sizes)).reshape(2000, 10, 3).mean(axis=1)
    assert (magnitude[days == 0, 0] > 2 * magnitude[days == 0, 1]).all()
    assert (magnitude[days > 0, 1] > 2 * magnitude[days > 0, 0]).all()
    # Unknown counts as ten days.
    flat[:, 2] = NAN
    unknown = logit.contributions(flat, sizes)
    flat[:, 2] = 10
    np.testing.assert_allclose(logit.contributions(flat, sizes), unknown, atol=1e-6)


TREES = {"objective": "lambdarank", "rounds": 5, "num_leaves": 4, "num_threads": 1}


def test_linear_margins_are_scaled_to_the_trees(tmp_path: Path) -> None:
    features, labels, sizes = make_lists(200)
    ensemble = RankerEnsemble.fit([TREES], 0.5, features, labels, sizes, COLUMNS)
    total, contributions = ensemble.margins(features, sizes)
    assert contributions is not None
    assert ensemble.trees is not None
    trees = ensemble.trees.margins(features)
    np.testing.assert_allclose(total, trees + contributions.sum(axis=1), rtol=1e-5, atol=1e-5)
    assert np.std(total - trees) == pytest.approx(0.5 * np.std(trees), rel=1e-4)
    ensemble.save(tmp_path)
    loaded = RankerEnsemble.load(tmp_path, ensemble.to_json())
    assert loaded.margins(features, sizes)[0].tobytes() == total.tobytes()
    trees_only = RankerEnsemble.fit([TREES], 0.0, features, labels, sizes, COLUMNS)
    assert trees_only.linear is None
    loaded = RankerEnsemble.load(tmp_path, trees_only.to_json())
    assert loaded.margins(features, sizes)[1] is None


def test_the_linear_weight_falls_with_the_number_of_users() -> None:
    assert linear_weight(0, True) == linear_weight(100, True) == linear_weight(100, False) == 2
    assert linear_weight(1500, True) == 1 and linear_weight(3000, True) == 0.25
    assert linear_weight(1500, False) == 0


def fit_two_stage(
    seed: int, events: int, rounds: int
) -> tuple[TwoStageRecommender, Interactions, date]:
    """A model of 20 users who take 30 items at random, its interactions, and their last day."""
    rng = np.random.default_rng(seed)
    day = date(2024, 3, 31)
    rows = [(f"u{n % 20:02}", f"i{rng.integers(30):02}", n % 50) for n in range(events)]
    users, items, ages = zip(*rows, strict=True)
    days = [day - timedelta(days=age) for age in ages]
    columns = {"user_id": users, "item_id": items, "date": days, "events": [1] * len(rows)}
    interactions = Interactions.from_table(pa.table(columns))
    config = TwoStageConfig(
        exclude_seen=False,
        generators=("recent", "own_history"),
        ranker_params={"rounds": rounds},
        threads=1,
    )
    return RankerTrainer(config).fit(interactions, day), interactions, day


def test_groups_that_raise_the_margin_are_those_of_lightgbm_s_shapley_values() -> None:
    model, interactions, day = fit_two_stage(seed=0, events=3000, rounds=8)
    assert model.ranker.linear is not None and any(model.ranker.linear.weights)
    trees = model.ranker.trees
    assert trees is not None
    features = ItemFeatures.from_interactions(interactions, day, model.items)
    ranked = model.rank(
        Histories.from_interactions(interactions, np.arange(20), model.items, day),
        features,
        10,
        exclude_seen=False,
    )
    rows = ranked.rows.ravel()
    players = _Players.of(model)
    contributions = _contributions(model, ranked, rows, players)
    assert ranked.linear_contributions is not None
    shapley = sum_players(ranked.linear_contributions[rows], players.of_column)
    for text, scale in zip(trees.models, trees.scales, strict=True):
        booster = lightgbm.Booster(model_str=text)
        values = np.asarray(booster.predict(ranked.features[rows], pred_contrib=True))[:, :-1]
        shapley += sum_players(values, players.of_column) / scale
    # Groups share what their features do together in another way, and mostly to the same end.
    same = players.sum_by_group(contributions).argmax(axis=1)
    assert (same == players.sum_by_group(shapley).argmax(axis=1)).mean() > 0.95


def test_rankings_of_many_users_keep_the_features_of_ranked_candidates_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, interactions, day = fit_two_stage(seed=1, events=2000, rounds=4)
    features = ItemFeatures.from_interactions(interactions, day, model.items)
    histories = Histories.from_interactions(interactions, np.arange(20), model.items, day)
    whole = model.rank(histories, features, 5, exclude_seen=False)
    parts = [(start, start + 7, histories.slice_users(start, start + 7)) for start in (0, 7, 14)]
    monkeypatch.setattr(two_stage, "user_batches", lambda *_: iter(parts))
    batched = model.rank(histories, features, 5, exclude_seen=False)
    assert len(batched.features) == (batched.positions >= 0).sum() < len(whole.features)
    np.testing.assert_array_equal(batched.positions, whole.positions)
    np.testing.assert_array_equal(batched.scores, whole.scores)
    is_ranked = whole.rows >= 0
    np.testing.assert_array_equal(
        batched.features[batched.rows[is_ranked]], whole.features[whole.rows[is_ranked]]
    )
