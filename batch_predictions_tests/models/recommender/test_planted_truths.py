"""Worlds in which one generator is the truth: what serves is not worse than it on later days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.common.intervals import paired_difference
from batch_predictions.models.common.ranking_metrics import NDCG, NDCG_20, RECALL
from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.splits import Holdout, split_by_time
from batch_predictions.models.recommender.generators.popularity import Popularity
from batch_predictions.models.recommender.recommender_selection import COMBINED_CANDIDATES, select
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.ranking_evaluation import evaluate
from batch_predictions.models.recommender.training.trainer import RankerTrainer

THROUGH = date(2024, 3, 31)
DAYS, USERS = 49, 120
Rows = list[tuple[str, str, date]]


def to_interactions(rows: Rows) -> Interactions:
    users, items, days = zip(*rows, strict=True)
    columns = {"user_id": users, "item_id": items, "date": days, "events": [1] * len(rows)}
    return Interactions.from_table(pa.table(columns))


def day(number: int) -> date:
    return THROUGH - timedelta(days=DAYS - 1 - number)


def popularity() -> Rows:
    """Everybody draws from one steep popularity, whatever they had: only counts say anything."""
    random = np.random.default_rng(2)
    odds = 1 / np.arange(1, 61)
    return [
        (f"u{user:03}", f"i{int(random.choice(60, p=odds / odds.sum())):02}", day(number))
        for user in range(USERS)
        for number in range(user % 3, DAYS, 3)
    ]


def colours() -> Rows:
    """A user takes random items of its own colour: items of equal users are alike."""
    random = np.random.default_rng(3)
    return [
        (f"u{user:03}", f"i{int(random.integers(20)) * 4 + user % 4:02}", day(number))
        for user in range(USERS)
        for number in range(user % 3, DAYS, 3)
    ]


def habits() -> Rows:
    """A user takes six items of its own, some more often: its frequencies are the truth."""
    random = np.random.default_rng(4)
    odds = np.array([8, 5, 3, 2, 1, 1]) / 20
    rows = []
    for user in range(USERS):
        own = random.choice(60, 6, replace=False)
        rows += [
            (f"u{user:03}", f"i{int(random.choice(own, p=odds)):02}", day(number))
            for number in range(user % 2, DAYS, 2)
        ]
    return rows


WORLDS: dict[str, tuple[Callable[[], Rows], str]] = {
    "popularity": (popularity, "popularity"),
    "colours": (colours, "item_neighbours"),
    "habits": (habits, "own_history"),
}


def fit_alone(trainer: RankerTrainer, holdout: Holdout, name: str) -> Recommender:
    if name == "popularity":
        return Popularity.fit(holdout.train, holdout.as_of)
    ensemble = trainer.fit_generators(holdout.train, holdout.as_of, [name])
    return ensemble.generators[0].model


@pytest.mark.parametrize("world", sorted(WORLDS))
def test_what_serves_is_not_worse_than_the_truth(world: str) -> None:
    make_rows, truth = WORLDS[world]
    holdout = split_by_time(
        to_interactions(make_rows()), cut=THROUGH - timedelta(days=7), exclude_seen=False
    )
    config = TwoStageConfig(
        exclude_seen=False,
        generators=("als", "ease", "item_neighbours", "recent", "own_history"),
        ranker_params={"rounds": 20},
        threads=1,
    )
    trainer = RankerTrainer(config)
    selection = select(holdout.train, holdout.as_of, trainer)
    assert {*COMBINED_CANDIDATES} <= {*selection.evaluations}
    features = trainer.item_features(holdout.train, holdout.as_of, holdout.train.item_ids)
    evaluations = []
    for model in (selection.model, fit_alone(trainer, holdout, truth)):
        evaluations.append(evaluate(model, holdout, features.reindex(model.items)))
    served, planted = evaluations
    assert served.n > 100 and planted.per_user[NDCG].mean() > 0.1
    for metric in (NDCG, NDCG_20, RECALL):
        gain = paired_difference(served.per_user[metric], planted.per_user[metric], 0)
        assert gain.upper >= 0, f"{selection.candidate} has {metric} {gain}: {selection.why}"
