"""Promotions of the coming weeks as candidates and as features, counted by hand."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.explanations import PROMOTION, TRENDING, explain_lists
from batch_predictions.models.recommender.features.candidate_features import CandidateBatch
from batch_predictions.models.recommender.features.item import later_weeks_features
from batch_predictions.models.recommender.features.table import build_feature_table
from batch_predictions.models.recommender.generators.popularity import (
    PromotedItems,
    PromotedItemsParams,
)

DAY = date(2024, 3, 31)
ITEMS = pa.array(["bread", "cake", "milk"])
# Ann (north) takes bread, bob (south) cake twice, dan (no location) milk.
ROWS = [("ann", "bread", 20), ("bob", "cake", 14), ("bob", "cake", 14), ("dan", "milk", 3)]
USER_TRAITS = pa.table(
    {
        "user_id": ["ann", "bob", "dan"],
        "age_bracket": pa.nulls(3, pa.string()),
        "gender": pa.nulls(3, pa.string()),
        "location": ["north", "south", None],
    }
)
Row = tuple[int, str, str, bool, bool]
CALENDAR: tuple[Row, ...] = (
    (1, "bread", "north", True, False),
    (2, "bread", "north", True, True),
    (2, "cake", "north", False, True),
    (2, "cake", "south", False, True),
    (4, "cake", "south", True, False),
)


def make_batch(*calendar: Row) -> CandidateBatch:
    """Every user with every item."""
    users, items, ages = zip(*ROWS, strict=True)
    days = [DAY - timedelta(days=age) for age in ages]
    columns = {"user_id": users, "item_id": items, "date": days, "events": [1] * len(ROWS)}
    interactions = Interactions.from_table(pa.table(columns))
    names = ("weeks_ahead", "item_id", "location", "display", "mailer")
    rows = [{**dict(zip(names, row, strict=True)), "tomorrow": row[0] == 1} for row in calendar]
    item_features = ItemFeatures.from_interactions(
        interactions, DAY, ITEMS, promotions=pa.Table.from_pylist(rows) if rows else None
    )
    histories = Histories.from_interactions(interactions, np.arange(3), ITEMS, DAY, USER_TRAITS)
    return CandidateBatch(histories, item_features, np.tile(np.arange(3), (3, 1)), {}, {})


def later_features(*calendar: Row) -> dict[str, npt.NDArray[Any]]:
    batch = make_batch(*calendar)
    features = later_weeks_features.features(batch)
    return {feature.name: np.asarray(feature.compute(batch)).reshape(3, 3) for feature in features}


def test_each_later_week_has_its_own_features() -> None:
    values = later_features(*CALENDAR)
    placements = [f"{name}_{week}" for week in (2, 4) for name in ("display", "mailer")]
    assert sorted(values) == sorted(
        f"{name}_{suffix}" for name in placements for suffix in ("share", "in_users_shop")
    )
    for user in range(3):
        assert values["display_2_share"][user].tolist() == [0.5, 0, 0]
        assert values["mailer_2_share"][user].tolist() == [0.5, 1, 0]
        assert values["display_4_share"][user].tolist() == [0, 0.5, 0]
    # Rows are ann, bob, and dan, whose shop is unknown.
    unknown = [np.nan] * 3
    np.testing.assert_array_equal(
        values["display_2_in_users_shop"], [[1, 0, 0], [0, 0, 0], unknown]
    )
    np.testing.assert_array_equal(
        values["display_4_in_users_shop"], [[0, 0, 0], [0, 1, 0], unknown]
    )


def test_a_calendar_of_one_week_or_of_none_has_no_later_features() -> None:
    assert later_features(*CALENDAR[:1]) == {} and later_features() == {}


def test_later_weeks_that_are_unknown_when_serving_are_nan() -> None:
    _, columns = build_feature_table(make_batch(*CALENDAR))
    index = [column.name for column in columns].index("display_4_in_users_shop")
    known, _ = build_feature_table(make_batch(*CALENDAR), columns)
    unknown, same = build_feature_table(make_batch(*CALENDAR[:1]), columns)
    assert same == columns and known.shape == unknown.shape
    assert np.isfinite(known[:6, index]).all() and np.isnan(unknown[:, index]).all()


def test_items_promoted_in_any_known_week_are_scored_by_popularity_and_shops() -> None:
    batch = make_batch(*CALENDAR)
    model = PromotedItems(ITEMS, PromotedItemsParams("events"))
    scores = model.scores(batch.histories, batch.item_features)
    # A quarter of all events are bread, half are cake. Bread: half the shops in weeks 1 and 2;
    # cake: all shops in week 2, half in week 4.
    bread, cake = 0.25 * (0.1 + 0.5 + 0.5), 0.5 * (0.1 + 1 + 0.5)
    expected = [
        [bread + 2 * 0.25, cake + 0.5, np.nan],
        [bread, cake + 2 * 0.5, np.nan],
        [bread, cake, np.nan],
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_the_popularity_statistic_is_a_parameter() -> None:
    batch = make_batch(*CALENDAR)
    model = PromotedItems(ITEMS, PromotedItemsParams("first_time_events_14"))
    # All users have one day only: there are no first-time events of returning users.
    assert np.nansum(np.abs(model.scores(batch.histories, batch.item_features))) == 0


def test_only_promotions_of_the_coming_week_are_given_as_a_reason() -> None:
    batch = make_batch(*CALENDAR)
    model = PromotedItems(ITEMS, PromotedItemsParams("events"))
    ranked = model.rank(batch.histories, batch.item_features, 2, exclude_seen=False)
    columns = np.tile(np.arange(2), (3, 1))
    reasons = explain_lists(
        model, ranked, columns, batch.histories, batch.item_features, np.zeros((3, 2), bool)
    )
    # Cake comes first, since it is promoted in more shops, but not in the coming week.
    assert [[ITEMS[int(i)].as_py() for i in row] for row in ranked.positions] == [
        ["cake", "bread"],
        ["cake", "bread"],
        ["cake", "bread"],
    ]
    assert reasons.tolist() == [[TRENDING, PROMOTION]] * 3
