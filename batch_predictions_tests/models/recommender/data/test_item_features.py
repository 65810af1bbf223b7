"""What is known of items at the end of a day, against counting by hand."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import (
    COUNTS,
    ItemFacts,
    ItemTraits,
    Promoted,
)

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


def facts(
    items: pa.StringArray = ITEMS,
    traits: ItemTraits | None = None,
    promoted: pa.Table | None = None,
) -> ItemFacts:
    users, ids, ages, events = zip(*ROWS, strict=True)
    days = [AS_OF - timedelta(days=age) for age in ages]
    table = pa.table({"user_id": users, "item_id": ids, "date": days, "events": events})
    return ItemFacts.of(Interactions.from_table(table), AS_OF, items, traits, promoted)


def test_counts_are_of_the_rows_up_to_the_day():
    counts = facts().counts
    assert set(counts) == set(COUNTS)
    assert counts["events"].tolist() == [4.0, 0.0, 7.0]
    assert counts["users"].tolist() == [2.0, 0.0, 2.0]
    assert counts["first_age"].tolist() == [14.0, -1.0, 28.0]


def test_recent_wants_halve_with_every_half_life():
    counts = facts().counts
    # new: 1 today, 3 at 14 days; old: 3 at 14 days, 4 at 28.
    assert counts["recent_14"] == pytest.approx([1 + 3 / 2, 0, 3 / 2 + 4 / 4])
    assert counts["recent_7"] == pytest.approx([1 + 3 / 4, 0, 3 / 4 + 4 / 16])
    half = 0.5 ** (14 / 30)
    assert counts["recent_30"] == pytest.approx([1 + 3 * half, 0, 3 * half + 4 * half**2])


def test_returning_wants_are_those_of_users_who_had_come_before():
    counts = facts().counts
    # Ann came back twice; all that bob did by the day was on his first.
    assert counts["returning_14"] == pytest.approx([1, 0, 2 / 2])
    assert counts["returning_30"] == pytest.approx([1, 0, 2 * 0.5 ** (14 / 30)])


def test_fresh_wants_are_those_of_first_takers_who_had_come_before():
    counts = facts().counts
    # Of ann's second coming only new was new to her; bob came for the first time.
    assert counts["fresh_14"] == pytest.approx([1, 0, 0])
    assert counts["fresh_90"] == pytest.approx([1, 0, 0])


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


def test_facts_at_some_positions_are_counts_and_plans():
    some = facts(ITEMS, traits(), OLD_IS_PROMOTED).at(np.array([2, 0]))
    assert some.items.to_pylist() == ["old", "new"]
    assert some.counts["events"].tolist() == [7.0, 4.0] and not some.traits.tags
    assert some.promoted is not None and some.promoted.tomorrow.tolist() == [True, False]


def test_shares_sum_to_one_or_are_nothing():
    assert facts().share("events") == pytest.approx([4 / 11, 0, 7 / 11])
    assert facts(pa.array(["none"])).share("events").tolist() == [0.0]


def test_facts_of_other_items_are_the_same_figures():
    described = ItemTraits.from_table(
        pa.table({"item_id": ["old", "new"], "price": [2.0, 1.0], "kind": ["a", "b"]}), ITEMS
    )
    moved = facts(ITEMS, described, OLD_IS_PROMOTED).onto(pa.array(["old", "new"]))
    direct = facts(pa.array(["old", "new"]), described, OLD_IS_PROMOTED)
    for name in COUNTS:
        np.testing.assert_array_equal(moved.counts[name], direct.counts[name])
    assert moved.traits.numbers["price"].tolist() == [2.0, 1.0]
    assert moved.traits.tags["kind"].toarray().tolist() == [[1, 0], [0, 1]]
    assert moved.promoted is not None and moved.promoted.tomorrow.tolist() == [True, False]
    with pytest.raises(AssertionError):
        facts().onto(pa.array(["stranger"]))


def traits() -> ItemTraits:
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
    return ItemTraits.from_table(table, ITEMS)


def test_texts_are_tags_whose_rows_sum_to_one():
    found = traits()
    assert set(found.tags) == {"genres", "brand"}
    # fun, war; only tags that the items have are known.
    assert found.tags["genres"].toarray().tolist() == [[0, 1], [0, 0], [0.5, 0.5]]
    assert found.tags["brand"].toarray().tolist() == [[1], [0], [0]]


def test_numbers_stay_numbers_also_where_they_are_written_as_text():
    found = traits()
    assert set(found.numbers) == {"price", "year"}
    np.testing.assert_array_equal(found.numbers["price"], [np.nan, np.nan, 2.0])
    np.testing.assert_array_equal(found.numbers["year"], [2001.0, np.nan, 1999.0])


def test_traits_of_other_items_are_unknown():
    moved = traits().onto(pa.array(["old", "stranger"]))
    assert moved.tags["genres"].toarray().tolist() == [[0.5, 0.5], [0, 0]]
    np.testing.assert_array_equal(moved.numbers["year"], [1999.0, np.nan])
    nothing = ItemTraits.nothing(ITEMS)
    assert not nothing.tags and not nothing.numbers and nothing.items.equals(ITEMS)


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


def test_promotions_are_shares_of_the_shops_that_have_any():
    promoted = Promoted.from_table(CALENDAR, ITEMS)
    assert promoted is not None
    assert promoted.shops.to_pylist() == ["s1", "s2", "s3"]
    assert promoted.share["display"] == pytest.approx([2 / 3, 0, 0])
    assert promoted.share["mailer"] == pytest.approx([0, 0, 1 / 3])
    # Of what is promoted in the coming week only old is on the next day, and a stranger.
    assert promoted.tomorrow.tolist() == [False, False, True]
    assert promoted.by_shop["display"].toarray().tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    some = promoted.at(np.array([2, 0]))
    assert some.tomorrow.tolist() == [True, False]
    assert some.by_shop["mailer"].toarray().tolist() == [[0, 0], [1, 0], [0, 0]]


def test_a_week_after_the_coming_one_has_kinds_of_its_own():
    later = CALENDAR.slice(1, 2).set_column(0, "weeks_ahead", pa.array([3, 3]))
    later = later.set_column(5, "tomorrow", pa.array([False, False]))
    promoted = Promoted.from_table(pa.concat_tables([CALENDAR, later]), ITEMS)
    assert promoted is not None
    assert promoted.weeks == [("display", "mailer"), ("display_3", "mailer_3")]
    assert promoted.share["display_3"] == pytest.approx([1 / 3, 0, 0])
    assert promoted.share["mailer_3"] == pytest.approx([0, 0, 1 / 3])
    assert promoted.share["display"] == pytest.approx([2 / 3, 0, 0])
    assert promoted.at(np.array([2])).weeks == promoted.weeks
    alone = Promoted.from_table(later, ITEMS)
    assert alone is not None and alone.weeks == promoted.weeks
    assert not alone.share["display"].any() and not alone.tomorrow.any()


def test_an_empty_calendar_promotes_nothing():
    assert Promoted.from_table(CALENDAR.slice(0, 0), ITEMS) is None
    assert facts(promoted=CALENDAR.slice(0, 0)).promoted is None and facts().promoted is None
