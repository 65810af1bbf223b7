"""Generators that read ratings: against the formula, and on ratings that do or do not matter."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.base import generators
from batch_predictions.models.recommender.generators.candidate_generation import GeneratorEnsemble
from batch_predictions.models.recommender.generators.ease import EASE, EASEParams, LikedEASE
from batch_predictions.models.recommender.generators.item_knn_rating import (
    ItemKNNRating,
    ItemKNNRatingParams,
)
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.trainer import RankerTrainer

DAY = date(2024, 3, 31)


def make_ratings(*rows: tuple[str, str, float | None]) -> Interactions:
    users, items, ratings = zip(*rows, strict=True)
    n = len(rows)
    return Interactions.from_table(
        pa.table(
            {
                "user_id": users,
                "item_id": items,
                "date": [DAY] * n,
                "events": [1] * n,
                "rating": pa.array(ratings, pa.float64()),
            }
        )
    )


def all_histories(interactions: Interactions, items: pa.StringArray) -> Histories:
    users = np.arange(len(interactions.user_ids))
    return Histories.from_interactions(interactions, users, items, DAY)


def two_groups(users: int = 40, seed: int = 3) -> Interactions:
    """Users take six of twelve items at random; half like the even items, half the odd ones."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, float | None]] = []
    for user in range(users):
        for item in rng.choice(12, 6, replace=False):
            likes = item % 2 == user % 2
            rows.append((f"u{user:02}", f"i{item:02}", (5.0 if likes else 1.0)))
    return make_ratings(*rows)


def test_predicted_ratings_are_those_of_the_formula() -> None:
    interactions = two_groups(12)
    params = ItemKNNRatingParams(mean_prior=2.0, pair_prior=3.0, support_prior=0.5)
    model = ItemKNNRating.fit(interactions, DAY, params)
    shape = (len(interactions.user_ids), 12)
    ratings, is_rated = np.zeros(shape), np.zeros(shape)
    assert interactions.ratings is not None
    ratings[interactions.users, interactions.items] = interactions.ratings
    is_rated[interactions.users, interactions.items] = 1
    overall = ratings.sum() / is_rated.sum()
    means = (ratings.sum(0) + 2 * overall) / (is_rated.sum(0) + 2)
    residuals = (ratings - means) * is_rated
    residuals -= is_rated * (residuals.sum(1) / (is_rated.sum(1) + 2))[:, None]
    similarity = (residuals.T @ residuals) / (is_rated.T @ is_rated + 3)
    lift = (residuals @ similarity) / (is_rated @ np.abs(similarity) + 0.5)
    histories = all_histories(interactions, model.items)
    np.testing.assert_allclose(model.scores(histories), means + lift, rtol=1e-4)
    lift_only = ItemKNNRating.fit(interactions, DAY, replace(params, lift=True))
    np.testing.assert_allclose(lift_only.scores(histories), lift, rtol=1e-3, atol=1e-5)
    # The explanation is the item whose rating raises the score most.
    picks = np.tile([0, 3], (12, 1))
    terms = residuals[:, None, :] * similarity[[0, 3]][None]
    terms = np.where(is_rated[:, None, :] > 0, terms, -np.inf)
    expected = np.where(terms.max(-1) > 0, terms.argmax(-1), -1)
    assert (model.explain(histories, picks) == expected).all()


def test_a_user_who_rates_like_a_group_gets_what_the_group_likes() -> None:
    interactions = two_groups()
    model = ItemKNNRating.fit(interactions, DAY)
    newcomer = make_ratings(("x", "i00", 5.0), ("x", "i01", 1.0), ("x", "i03", 1.0))
    scores = model.scores(all_histories(newcomer, model.items))[0]
    assert scores[2::2].min() > scores[5::2].max() + 0.5
    # Average ratings or none: the items' means, and no lift.
    neutral = make_ratings(("x", "i00", None), ("y", "i01", 3.0))
    histories = all_histories(neutral, model.items)
    np.testing.assert_allclose(model.scores(histories)[0], model.arrays["means"], rtol=1e-6)
    assert (
        ItemKNNRating.fit(interactions, DAY, ItemKNNRatingParams(lift=True)).scores(histories)[0]
        == 0
    ).all()


def test_liked_ease_is_ease_of_what_was_liked() -> None:
    interactions = two_groups()
    model = LikedEASE.fit(interactions, DAY, EASEParams(l2=1.0))
    assert interactions.ratings is not None
    liked = interactions.filter(interactions.ratings > interactions.ratings.mean())
    ease = EASE.fit(liked, DAY, EASEParams(l2=1.0))
    np.testing.assert_array_equal(
        model.scores(all_histories(interactions, model.items)),
        ease.scores(all_histories(liked, ease.items)),
    )
    contributors = model.explain(
        all_histories(interactions, model.items), np.zeros((40, 1), dtype=np.int64)
    )
    is_liked = np.zeros((40, 12), dtype=bool)
    is_liked[liked.users, liked.items] = True
    explained = contributors[:, 0] >= 0
    assert explained.any()
    assert is_liked[np.flatnonzero(explained), contributors[explained, 0]].all()


@pytest.mark.parametrize("recommender_class", [ItemKNNRating, LikedEASE])
@pytest.mark.parametrize("ratings", [None, 4.0])
def test_missing_or_equal_ratings_score_all_users_equally(
    recommender_class: Any, ratings: float
) -> None:
    interactions = make_ratings(*((f"u{n}", f"i{m}", ratings) for n in range(4) for m in range(3)))
    model = recommender_class.fit(interactions, DAY)
    scores = model.scores(all_histories(interactions, model.items))
    assert np.isfinite(scores).all() and np.ptp(scores, axis=0).max() < 1e-6


def test_rating_generators_score_candidates_and_propose_none() -> None:
    interactions = two_groups()
    names = ["recent", "predicted_rating", "rating_lift", "liked_ease"]
    assert not any(generators()[name].is_candidate_source for name in names[1:])
    batches = []
    for selected in (names[:1], names, names[1:]):
        ensemble = GeneratorEnsemble.fit(
            interactions, DAY, selected, exclude_seen=True, max_items=100
        )
        histories = all_histories(interactions, ensemble.items)
        item_features = ItemFeatures.from_interactions(interactions, DAY, ensemble.items)
        batches.append(ensemble.propose(histories, item_features, 3, True, None))
    recent_only, both, ratings_only = batches
    np.testing.assert_array_equal(recent_only.positions, both.positions)
    assert {*both.scores} == {*names}
    assert all(np.isfinite(scores[both.is_candidate]).all() for scores in both.scores.values())
    # Without any candidate source they propose, or no user would get a list.
    assert (ratings_only.positions >= 0).any(axis=1).all()


def test_rating_generators_need_ratings_and_lists_of_new_items() -> None:
    interactions = two_groups()
    trainer = RankerTrainer(TwoStageConfig(exclude_seen=True))
    rating_generators = {"predicted_rating", "rating_lift", "liked_ease"}
    fitted = trainer.fit_generators(interactions, DAY).generators
    assert rating_generators <= {generator.name for generator in fitted}
    unrated = Interactions.from_table(
        pa.table(
            {
                "user_id": interactions.user_ids.take(pa.array(interactions.users)),
                "item_id": interactions.item_ids.take(pa.array(interactions.items)),
                "date": pa.array(interactions.dates.astype("datetime64[D]")),
                "events": interactions.events,
            }
        )
    )
    fitted = trainer.fit_generators(unrated, DAY).generators
    assert not rating_generators & {generator.name for generator in fitted}
    repeats = RankerTrainer(TwoStageConfig(exclude_seen=False))
    assert not rating_generators & {*repeats.generator_names(DAY)}
