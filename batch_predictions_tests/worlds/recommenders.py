"""Recommenders of every kind, fitted on a checkerboard and on random rows."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from batch_predictions.models.recommender.base import TrainableRecommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.als import ALS
from batch_predictions.models.recommender.generators.ease import EASE, LikedEASE
from batch_predictions.models.recommender.generators.graph_filter import GraphFilter
from batch_predictions.models.recommender.generators.item_knn_rating import ItemKNNRating
from batch_predictions.models.recommender.generators.item_neighbours import ItemNeighbours
from batch_predictions.models.recommender.generators.popularity import (
    Popularity,
    PromotedItems,
    SegmentPopularity,
)
from batch_predictions.models.recommender.generators.sequence import Sequence
from batch_predictions.models.recommender.generators.sequence_ease import SequenceEASE
from batch_predictions.models.recommender.generators.sequence_neighbours import SequenceNeighbours
from batch_predictions.models.recommender.generators.user_frequency import UserFrequency
from batch_predictions_tests.worlds.checkerboard import AS_OF, checkerboard

DIRECTED_PARAMS: dict[str, Any] = {"target_half_life_days": 14, "newest_days": None}

MODELS: dict[str, tuple[type[TrainableRecommender], dict[str, Any]]] = {
    "als": (ALS, {"factors": 4, "seed": 3}),
    "ease": (EASE, {"l2": 1.0}),
    "item_neighbours": (ItemNeighbours, {"newest_days": None}),
    "current_neighbours": (ItemNeighbours, DIRECTED_PARAMS),
    "graph_filter": (GraphFilter, {"factors": 2}),
    "sequence_neighbours": (SequenceNeighbours, {"newest": 3}),
    "next_neighbours": (SequenceNeighbours, {"newest": 1}),
    "sequence_ease": (SequenceEASE, {"l2": 1.0, "places": 50}),
    "sequence": (Sequence, {"width": 4, "minutes": 0.001, "batch": 8}),
    "popularity": (Popularity, {}),
    "recency_popularity_14d": (Popularity, {"half_life_days": 14}),
    "own_history": (UserFrequency, {}),
    "own_history_90d": (UserFrequency, {"half_life_days": 90}),
    "segment_taste": (SegmentPopularity, {"min_users": 1, "kappa": 1.0}),
    "promoted": (PromotedItems, {}),
    "predicted_rating": (ItemKNNRating, {}),
    "rating_lift": (ItemKNNRating, {"lift": True}),
    "liked_ease": (LikedEASE, {"l2": 1.0}),
}

PERSONAL_MODELS = ["als", "current_neighbours", "ease", "graph_filter", "item_neighbours"]

CHECKERBOARD = checkerboard(users=12, items=12, seed=5)

BOARD = Interactions.from_table(CHECKERBOARD.interactions)
"""The interactions on the checkerboard."""

AGES_IN_DAYS = (0, 3, 17, 40)
"""Ages of random interactions."""


def make_user_traits(user_ids: pa.StringArray) -> pa.Table:
    """Traits of users: alternately black and white, in two locations, some unknown."""
    n = len(user_ids)
    columns = {
        "user_id": user_ids,
        "age_bracket": [["black", "white", "unknown"][i % 3] for i in range(n)],
        "gender": [None if i % 3 == 2 else "f" for i in range(n)],
        "location": [["here", "there", None][i // 2 % 3] for i in range(n)],
    }
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def random_rows(users: int, items: int, rows: int, seed: int = 0) -> pa.Table:
    """Random interactions with ratings, some of which are null; small item numbers are popular."""
    rng = np.random.default_rng(seed)
    ages = rng.choice(AGES_IN_DAYS, rows)
    return pa.table(
        {
            "user_id": [f"u{user:03}" for user in rng.integers(0, users, rows)],
            "item_id": [f"i{item:03}" for item in rng.zipf(1.4, rows) % items],
            "date": pa.array([AS_OF - timedelta(days=int(age)) for age in ages], pa.date32()),
            "events": rng.integers(1, 5, rows),
            "rating": [int(r) if r else None for r in rng.integers(0, 6, rows)],
        }
    )


def fit(
    model_class: type[TrainableRecommender],
    interactions: Interactions,
    users: pa.Table | None = None,
    **params: Any,
) -> Any:
    """A model with parameters, as of AS_OF."""
    return model_class.fit(interactions, AS_OF, model_class.Params(**params), users)


def fit_named(name: str, interactions: Interactions = BOARD) -> Any:
    """The model of a name in MODELS."""
    model_class, params = MODELS[name]
    return fit(model_class, interactions, make_user_traits(interactions.user_ids), **params)


def all_histories(interactions: Interactions, model: TrainableRecommender) -> Histories:
    """The histories of all users."""
    users = np.arange(len(interactions.user_ids))
    user_traits = make_user_traits(interactions.user_ids)
    return Histories.from_interactions(interactions, users, model.items, AS_OF, user_traits)


def item_features(interactions: Interactions, items: pa.StringArray) -> ItemFeatures:
    """Item features: the first item is promoted in one location, the last in another."""
    if interactions is BOARD and items.equals(BOARD.item_ids):
        return _board_features()
    return _make_item_features(interactions, items)


@cache
def _board_features() -> ItemFeatures:
    return _make_item_features(BOARD, BOARD.item_ids)


def _make_item_features(interactions: Interactions, items: pa.StringArray) -> ItemFeatures:
    promotions = pa.table(
        {
            "weeks_ahead": [1, 1],
            "item_id": pa.array([items[0].as_py(), items[-1].as_py()], pa.string()),
            "location": ["here", "there"],
            "display": [True, False],
            "mailer": [True, True],
            "tomorrow": [True, True],
        }
    )
    return ItemFeatures.from_interactions(interactions, AS_OF, items, promotions=promotions)


def score_users(model: TrainableRecommender, interactions: Interactions) -> np.ndarray[Any, Any]:
    """Scores of all users and items, (users, items)."""
    return model.scores(
        all_histories(interactions, model), item_features(interactions, model.items)
    )


def single_user_history(model: TrainableRecommender, *items: str) -> Histories:
    """The history of one user, who has the items on AS_OF."""
    rows = pa.table(
        {
            "user_id": ["x"] * len(items),
            "item_id": list(items),
            "date": [AS_OF] * len(items),
            "events": [1] * len(items),
        }
    )
    return Histories.from_interactions(
        Interactions.from_table(rows), np.array([0]), model.items, AS_OF
    )


def make_sequences(sequences: dict[str, str]) -> Interactions:
    """Interactions of users with single-letter items, in the order of the letters, on one day."""
    rows = [(u, item, n) for u, items in sequences.items() for n, item in enumerate(items)]
    users, items, times = zip(*rows, strict=True)
    table = pa.table(
        {
            "user_id": users,
            "item_id": items,
            "date": [AS_OF] * len(rows),
            "events": [1] * len(rows),
            "event_time": times,
        }
    )
    return Interactions.from_table(table)
