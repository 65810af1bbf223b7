"""Popularity, user frequency, segments and promotions, by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from itertools import product

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators import shared_scores
from batch_predictions.models.recommender.generators.popularity import Popularity, SegmentPopularity
from batch_predictions.tables import TRAITS
from batch_predictions_tests.worlds.checkerboard import AS_OF
from batch_predictions_tests.worlds.recommenders import (
    BOARD,
    all_histories,
    fit,
    fit_named,
    item_features,
    score_users,
)


def test_user_frequency_explains_an_item_by_itself() -> None:
    model = fit_named("own_history")
    histories = all_histories(BOARD, model)
    contributors = model.explain(histories, np.tile(np.arange(12), (12, 1)))
    in_history = histories.matrix().toarray() > 0
    np.testing.assert_array_equal(contributors, np.where(in_history, np.arange(12), -1))


def test_recent_popularity_halves_with_every_half_life() -> None:
    table = pa.table(
        {
            "user_id": ["a", "b", "b"],
            "item_id": ["new", "old", "older"],
            "date": [date(2024, 3, 31), date(2024, 3, 17), date(2024, 3, 3)],
            "events": [1, 2, 8],
        }
    )
    rows = Interactions.from_table(table)
    recent, ever = (
        score_users(fit_named(name, rows), rows)
        for name in ("recency_popularity_14d", "popularity")
    )
    assert recent[0] == pytest.approx([0.25, 0.25, 0.5])
    assert ever[1] == pytest.approx([1 / 11, 2 / 11, 8 / 11])
    with pytest.raises(ValueError, match="half_life_days"):
        fit(Popularity, rows, half_life_days=15)


def test_user_frequency_halves_with_every_half_life() -> None:
    table = pa.table(
        {
            "user_id": ["a", "a", "a"],
            "item_id": ["x", "x", "y"],
            "date": [AS_OF, AS_OF - timedelta(days=90), AS_OF],
            "events": [1, 2, 4],
        }
    )
    rows = Interactions.from_table(table)
    assert score_users(fit_named("own_history", rows), rows).tolist() == [[3.0, 4.0]]
    assert score_users(fit_named("own_history_90d", rows), rows).tolist() == [[2.0, 4.0]]


def test_segment_popularity_is_shrunk_to_overall_shares() -> None:
    users = [f"u{i}" for i in range(8)]
    table = pa.table(
        {
            "user_id": users * 2,
            "item_id": ["all"] * 8 + ["left", "right"] * 4,
            "date": [AS_OF] * 16,
            "events": [1] * 16,
        }
    )
    user_traits = pa.table(
        {
            "user_id": users,
            "age_bracket": ["unknown"] * 8,
            "gender": pa.nulls(8, pa.string()),
            "location": ["l", "r"] * 4,
        }
    )
    rows = Interactions.from_table(table)
    model = fit(SegmentPopularity, rows, users=user_traits, min_users=4, kappa=8.0)
    assert model.fitted_values == {"location": ["l", "r"], "demographic": []}
    histories = Histories.from_interactions(rows, np.arange(2), rows.item_ids, AS_OF, user_traits)
    # Segments of 8 events are shrunk to the overall shares (1/2, 1/4, 1/4) by kappa = 8 events.
    left = np.log([0.5, (4 + 2) / 16, (0 + 2) / 16])
    assert model.scores(histories)[0] == pytest.approx(left)
    assert model.scores(histories)[1] == pytest.approx(left[[0, 2, 1]])
    model = fit(SegmentPopularity, rows, users=user_traits, min_users=5)
    assert np.isnan(model.scores(histories)).all()


def test_items_promoted_in_the_users_shop_score_higher() -> None:
    model = fit_named("promoted")
    features = item_features(BOARD, model.items)
    popularity = features.share("decayed_events_14")
    # "here" promotes the first item, "there" the last; each is half of the shops.
    user_traits = pa.table(
        {name: pa.array(["here", "there", None], pa.string()) for name in TRAITS}
    )
    no_rows = np.empty(0, dtype=np.int32)
    histories = Histories(3, 12, no_rows, no_rows, no_rows, np.empty(0), user_traits)
    promoted_scores = model.scores(histories, features)[:, [0, 11]]
    base = popularity[[0, 11]] * 0.6
    in_users_shop = np.array([[popularity[0], 0], [0, popularity[11]], [0, 0]])
    np.testing.assert_allclose(promoted_scores, base + in_users_shop, rtol=1e-5)


@pytest.mark.parametrize("max_kept_mb", [64, 0])
def test_segments_kept_from_earlier_batches_change_no_proposal(
    monkeypatch: pytest.MonkeyPatch, max_kept_mb: int
) -> None:
    monkeypatch.setattr(shared_scores, "MAX_KEPT_MB", max_kept_mb)
    kept = fit_named("promoted")
    features = item_features(BOARD, kept.items)
    random = np.random.default_rng(0)
    shops = pa.array(random.choice(np.array(["here", "there", "elsewhere", None]), 12), pa.string())
    user_traits = pa.table(dict.fromkeys(TRAITS, shops))
    histories = replace(all_histories(BOARD, kept), traits=user_traits)
    blocked = np.arange(12) == 0
    for k, excludes, blocks in product((0, 3, 9), (False, True), (None, blocked, ~blocked)):
        for start, stop in ((0, 3), (3, 12), (0, 12)):
            batch = histories.slice_users(start, stop)
            found, expected = (
                model.propose(batch, features, k, exclude_seen=excludes, blocked=blocks)
                for model in (kept, fit_named("promoted"))
            )
            np.testing.assert_array_equal(found.positions, expected.positions)
            items = np.tile(np.arange(-1, 12), (stop - start, 1))
            np.testing.assert_array_equal(found.scores_of(items), expected.scores_of(items))
    later = replace(features, stats={name: v[::-1] for name, v in features.stats.items()})
    found, expected = (
        model.propose(histories, later, 5, exclude_seen=False)
        for model in (kept, fit_named("promoted"))
    )
    np.testing.assert_array_equal(found.positions, expected.positions)
