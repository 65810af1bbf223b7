"""Item features as of the end of a day, against counting by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ITEM_STATS, ItemFeatures
from batch_predictions.models.recommender.data.item_metadata import ItemMetadata, ItemPromotions

AS_OF = date(2024, 3, 31)
ITEMS = pa.array(["new", "none", "old"])
ROWS = [
    # User, item, age, events.
    ("ann", "old", 28, 4),
    ("ann", "old", 14, 2),
    ("ann", "new", 0, 1),
    ("bob", "old", 14, 1),
    ("bob", "new", 14, 3),
    ("bob", "new", -1, 50),
    ("cat", "gone", 7, 1),
]


def item_features(
    items: pa.StringArray = ITEMS,
    metadata: ItemMetadata | None = None,
    promotions: pa.Table | None = None,
    rows: Sequence[tuple[str, str, int, float]] = ROWS,
) -> ItemFeatures:
    users, ids, ages, events = zip(*rows, strict=True)
    days = [AS_OF - timedelta(days=age) for age in ages]
    table = pa.table({"user_id": users, "item_id": ids, "date": days, "events": events})
    return ItemFeatures.from_interactions(
        Interactions.from_table(table), AS_OF, items, metadata, promotions
    )


def test_stats_are_of_the_rows_up_to_the_day() -> None:
    stats = item_features().stats
    assert set(stats) == set(ITEM_STATS)
    assert stats["events"].tolist() == [4.0, 0.0, 7.0]
    assert stats["users"].tolist() == [2.0, 0.0, 2.0]
    assert stats["days_since_first"].tolist() == [14.0, -1.0, 28.0]


def test_decayed_events_halve_with_every_half_life() -> None:
    stats = item_features().stats
    # new: 1 today, 3 at 14 days; old: 3 at 14 days, 4 at 28.
    assert stats["decayed_events_14"] == pytest.approx([1 + 3 / 2, 0, 3 / 2 + 4 / 4])
    assert stats["decayed_events_7"] == pytest.approx([1 + 3 / 4, 0, 3 / 4 + 4 / 16])
    half = 0.5 ** (14 / 30)
    assert stats["decayed_events_30"] == pytest.approx([1 + 3 * half, 0, 3 * half + 4 * half**2])


def test_returning_events_are_of_users_with_an_earlier_day() -> None:
    stats = item_features().stats
    # Ann returned on two days; bob has only his first day.
    assert stats["returning_events_14"] == pytest.approx([1, 0, 2 / 2])
    assert stats["returning_events_30"] == pytest.approx([1, 0, 2 * 0.5 ** (14 / 30)])


def test_first_time_events_are_of_returning_users_only() -> None:
    stats = item_features().stats
    # On ann's later days only `new` was new to her; bob has only his first day.
    assert stats["first_time_events_14"] == pytest.approx([1, 0, 0])
    assert stats["first_time_events_90"] == pytest.approx([1, 0, 0])


OLD_IS_PROMOTED = pa.table(
    {
        "weeks_ahead": [1],
        "item_id": ["old"],
        "location": ["s"],
        "display": [True],
        "mailer": [False],
        "tomorrow": [True],
    }
)


def test_rows_of_one_user_item_and_day_are_added() -> None:
    whole = [*ROWS, ("cat", "none", 0, 4)]
    in_halves = [(*row[:3], row[3] / 2) for row in whole for _ in range(2)]
    expected = item_features(rows=whole).stats
    assert expected["first_time_events_14"] == pytest.approx([1, 4, 0])
    for name, values in item_features(rows=in_halves).stats.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-12, err_msg=name)


def test_take_keeps_stats_and_promotions() -> None:
    taken = item_features(ITEMS, metadata(), OLD_IS_PROMOTED).take(np.array([2, 0]))
    assert taken.items.to_pylist() == ["old", "new"]
    assert taken.stats["events"].tolist() == [7.0, 4.0] and not taken.metadata.tags
    assert taken.promotions is not None and taken.promotions.is_promoted_tomorrow.tolist() == [
        True,
        False,
    ]


def test_shares_sum_to_one_or_are_zero() -> None:
    assert item_features().share("events") == pytest.approx([4 / 11, 0, 7 / 11])
    assert item_features(pa.array(["none"])).share("events").tolist() == [0.0]


def test_reindex_gives_the_same_values_for_other_items() -> None:
    described = ItemMetadata.from_table(
        pa.table({"item_id": ["old", "new"], "price": [2.0, 1.0], "kind": ["a", "b"]}), ITEMS
    )
    moved = item_features(ITEMS, described, OLD_IS_PROMOTED).reindex(pa.array(["old", "new"]))
    direct = item_features(pa.array(["old", "new"]), described, OLD_IS_PROMOTED)
    for name in ITEM_STATS:
        np.testing.assert_array_equal(moved.stats[name], direct.stats[name])
    assert moved.metadata.numbers["price"].tolist() == [2.0, 1.0]
    assert moved.metadata.tags["kind"].toarray().tolist() == [[1, 0], [0, 1]]
    assert moved.promotions is not None and moved.promotions.is_promoted_tomorrow.tolist() == [
        True,
        False,
    ]
    with pytest.raises(AssertionError):
        item_features().reindex(pa.array(["stranger"]))


def metadata() -> ItemMetadata:
    table = pa.table(
        {
            "item_id": ["old", "new", "elsewhere"],
            "price": [2, None, 7],
            "year": ["1999", "2001", None],
            "genres": ["fun|war", "war", "opera"],
            "brand": [None, "b", "a"],
            "nothing": pa.nulls(3, pa.string()),
        }
    )
    return ItemMetadata.from_table(table, ITEMS)


def test_texts_are_tags_whose_rows_sum_to_one() -> None:
    item_metadata = metadata()
    assert set(item_metadata.tags) == {"genres", "brand"}
    # fun, war; only tags that the items have are known.
    assert item_metadata.tags["genres"].toarray().tolist() == [[0, 1], [0, 0], [0.5, 0.5]]
    assert item_metadata.tags["brand"].toarray().tolist() == [[1], [0], [0]]


def test_numbers_stay_numbers_also_where_they_are_written_as_text() -> None:
    item_metadata = metadata()
    assert set(item_metadata.numbers) == {"price", "year"}
    np.testing.assert_array_equal(item_metadata.numbers["price"], [np.nan, np.nan, 2.0])
    np.testing.assert_array_equal(item_metadata.numbers["year"], [2001.0, np.nan, 1999.0])


def test_metadata_of_other_items_is_unknown() -> None:
    moved = metadata().reindex(pa.array(["old", "stranger"]))
    assert moved.tags["genres"].toarray().tolist() == [[0.5, 0.5], [0, 0]]
    np.testing.assert_array_equal(moved.numbers["year"], [1999.0, np.nan])
    empty = ItemMetadata.empty(ITEMS)
    assert not empty.tags and not empty.numbers and empty.items.equals(ITEMS)


CALENDAR = pa.table(
    {
        "weeks_ahead": [1, 1, 1, 1],
        "item_id": ["new", "old", "new", "stranger"],
        "location": ["s1", "s2", "s2", "s3"],
        "display": [True, False, True, True],
        "mailer": [False, True, False, False],
        "tomorrow": [False, True, False, True],
    }
)


def test_promotions_are_shares_of_the_shops_that_have_any() -> None:
    promotions = ItemPromotions.from_table(CALENDAR, ITEMS)
    assert promotions is not None
    assert promotions.shops.to_pylist() == ["s1", "s2", "s3"]
    assert promotions.shares["display"] == pytest.approx([2 / 3, 0, 0])
    assert promotions.shares["mailer"] == pytest.approx([0, 0, 1 / 3])
    # On the next day only `old` and an unknown item are promoted.
    assert promotions.is_promoted_tomorrow.tolist() == [False, False, True]
    assert promotions.by_shop["display"].toarray().tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    taken = promotions.take(np.array([2, 0]))
    assert taken.is_promoted_tomorrow.tolist() == [True, False]
    assert taken.by_shop["mailer"].toarray().tolist() == [[0, 0], [1, 0], [0, 0]]


def test_a_later_week_has_its_own_placements() -> None:
    later = CALENDAR.slice(1, 2).set_column(0, "weeks_ahead", pa.array([3, 3]))
    later = later.set_column(5, "tomorrow", pa.array([False, False]))
    promotions = ItemPromotions.from_table(pa.concat_tables([CALENDAR, later]), ITEMS)
    assert promotions is not None
    assert promotions.weeks == [("display", "mailer"), ("display_3", "mailer_3")]
    assert promotions.shares["display_3"] == pytest.approx([1 / 3, 0, 0])
    assert promotions.shares["mailer_3"] == pytest.approx([0, 0, 1 / 3])
    assert promotions.shares["display"] == pytest.approx([2 / 3, 0, 0])
    assert promotions.take(np.array([2])).weeks == promotions.weeks
    alone = ItemPromotions.from_table(later, ITEMS)
    assert alone is not None and alone.weeks == promotions.weeks
    assert not alone.shares["display"].any() and not alone.is_promoted_tomorrow.any()


def test_an_empty_calendar_is_no_promotions() -> None:
    assert ItemPromotions.from_table(CALENDAR.slice(0, 0), ITEMS) is None
    assert (
        item_features(promotions=CALENDAR.slice(0, 0)).promotions is None
        and item_features().promotions is None
    )
