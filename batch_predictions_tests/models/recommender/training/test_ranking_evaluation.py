"""Hold-outs without leakage, and metrics of a model on them."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.splits import split_by_time
from batch_predictions.models.recommender.generators.ease import EASE, EASEParams
from batch_predictions.models.recommender.generators.popularity import (
    SegmentPopularity,
    SegmentPopularityParams,
)
from batch_predictions.models.recommender.generators.user_frequency import UserFrequency
from batch_predictions.models.recommender.training.ranking_evaluation import evaluate
from batch_predictions_tests.worlds.holdouts import (
    CUT_DAY,
    DAY_AFTER,
    DAY_BEFORE,
    INTERACTIONS,
    evaluate_popularity,
    event_table,
)


def test_users_with_rows_before_and_after_the_cut_are_evaluated() -> None:
    holdout = split_by_time(INTERACTIONS, cut=CUT_DAY, exclude_seen=False)
    evaluation = evaluate_popularity(holdout)
    assert evaluation.n == 3 and evaluation.split == "time"
    # Popularity before the cut: a 5, b 4, c 1. Ann took b and c, bob something new, cat c.
    ideal = 1 + 1 / np.log2(3)
    expected = [(1 / np.log2(3) + 1 / np.log2(4)) / ideal, 0.0, 1 / np.log2(4)]
    assert evaluation.per_user["ndcg@10"] == pytest.approx(expected)
    assert evaluation.per_user["recall@20"].tolist() == [1.0, 0.0, 1.0]
    assert evaluation.coverage == 1.0


def test_seen_items_are_neither_recommended_nor_relevant() -> None:
    holdout = split_by_time(INTERACTIONS, cut=CUT_DAY, exclude_seen=True)
    evaluation = evaluate_popularity(holdout)
    # Cat took only c, which it had before: it has no relevant item.
    assert evaluation.n == 2 and holdout.users_without_new == 1
    # Ann has a and b, so c is ranked first for her, and b is not relevant.
    assert evaluation.per_user["ndcg@10"].tolist() == [1.0, 0.0]


def test_metric_rows_hold_their_values() -> None:
    evaluation = evaluate_popularity(split_by_time(INTERACTIONS, cut=CUT_DAY, exclude_seen=False))
    rows: list[dict[str, Any]] = evaluation.rows(seed=0)
    assert [row["metric"] for row in rows] == [
        "ndcg@10",
        "ndcg@20",
        "recall@20",
        "map@10",
        "hit_rate@10",
        "novelty@10",
        "coverage@10",
    ]
    for row in rows[:6]:
        assert row["lower"] <= row["value"] <= row["upper"] and row["n"] == 3
    assert rows[6]["lower"] is None


def test_novelty_is_the_mean_self_information_of_recommended_items() -> None:
    # Of the four (item, user) pairs before the cut one is of a, two of b, one of c: 2, 1, 2 bits.
    evaluation = evaluate_popularity(split_by_time(INTERACTIONS, cut=CUT_DAY, exclude_seen=False))
    assert evaluation.per_user["novelty@10"] == pytest.approx([5 / 3] * 3)
    masked = evaluate_popularity(split_by_time(INTERACTIONS, cut=CUT_DAY, exclude_seen=True))
    # Ann gets c, bob a and c.
    assert masked.per_user["novelty@10"] == pytest.approx([2.0, 2.0])


def test_an_evaluation_keeps_its_values_under_another_name() -> None:
    evaluation = evaluate_popularity(split_by_time(INTERACTIONS, cut=CUT_DAY, exclude_seen=False))
    renamed = evaluation.renamed("other")
    assert renamed.candidate == "other" and evaluation.candidate == "popularity"
    assert renamed.per_user is evaluation.per_user
    assert {row["candidate"] for row in renamed.rows(seed=0)} == {"other"}


def test_a_model_of_fewer_items_misses_the_others() -> None:
    """EASE here knows a and b only; c, which ann and cat took, counts as missed."""
    holdout = split_by_time(INTERACTIONS, cut=CUT_DAY, exclude_seen=False)
    model = EASE.fit(holdout.train, CUT_DAY, EASEParams(max_items=2))
    evaluation = evaluate(
        model, holdout, ItemFeatures.from_interactions(holdout.train, CUT_DAY, model.items)
    )
    assert evaluation.per_user["recall@20"].tolist() == [0.5, 0.0, 0.0]
    assert evaluation.coverage == pytest.approx(2 / 3)


def test_a_user_with_an_empty_list_counts() -> None:
    holdout = split_by_time(INTERACTIONS, cut=CUT_DAY, exclude_seen=True)
    model = UserFrequency.fit(holdout.train, CUT_DAY)
    evaluation = evaluate(
        model, holdout, ItemFeatures.from_interactions(holdout.train, CUT_DAY, model.items)
    )
    assert evaluation.n == 2 and evaluation.coverage == 0.0
    assert all((values == 0).all() for values in evaluation.per_user.values())


def test_user_traits_reach_the_model() -> None:
    holdout = split_by_time(INTERACTIONS, cut=CUT_DAY, exclude_seen=False)
    users = pa.table(
        {
            "user_id": ["cat", "ann", "bob"],
            "age_bracket": pa.nulls(3, pa.string()),
            "gender": pa.nulls(3, pa.string()),
            "location": ["south", "north", "north"],
        }
    )
    model = SegmentPopularity.fit(
        holdout.train, CUT_DAY, SegmentPopularityParams(min_users=1, kappa=1e-3), users
    )
    item_features = ItemFeatures.from_interactions(holdout.train, CUT_DAY, model.items)
    evaluation = evaluate(model, holdout, item_features, users)
    # Users of cat's location take only c, which is relevant.
    assert evaluation.per_user["ndcg@10"][2] == 1.0
    assert (evaluate(model, holdout, item_features).per_user["ndcg@10"] == 0).all()


def test_histories_are_weighted_as_the_model_was_trained() -> None:
    """With a half-life recent events weigh more than old ones."""
    old, new = date(2023, 10, 1), DAY_BEFORE
    rows = [("ann", "old", old, 2), ("ann", "new", new, 1)]
    rows += [(f"u{i}", item, new, 1) for i in range(5) for item in ("old", "old2")]
    rows += [(f"v{i}", item, new, 1) for i in range(5) for item in ("new", "new2")]
    rows += [("ann", "new2", DAY_AFTER, 1)]
    holdout = split_by_time(
        Interactions.from_table(event_table(*rows)), cut=CUT_DAY, exclude_seen=True
    )
    scores = {}
    for days in (None, 10.0):
        model = EASE.fit(holdout.train, CUT_DAY, EASEParams(l2=1.0, history_half_life_days=days))
        item_features = ItemFeatures.from_interactions(holdout.train, CUT_DAY, model.items)
        scores[days] = evaluate(model, holdout, item_features).per_user["ndcg@10"][0]
    assert scores[10.0] == 1.0 > scores[None]
    weighted = holdout.train.with_decayed_events(10.0, CUT_DAY)
    assert weighted.events.min() < 0.01 and weighted.matrix().nnz == holdout.train.matrix().nnz
    assert holdout.train.with_decayed_events(None, CUT_DAY) is holdout.train
