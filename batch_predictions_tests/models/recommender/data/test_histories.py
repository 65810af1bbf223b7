"""What users did before a day: the same from interactions and from staged rows."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.histories import (
    TRAITS,
    Histories,
    batches,
    positions,
)
from batch_predictions.models.recommender.data.interactions import Interactions

AS_OF = date(2024, 3, 31)
ITEMS = pa.array(["x", "y", "z"])
ROWS = [
    ("ann", "y", 4, 1.0),
    ("ann", "x", 10, 3.0),
    ("ann", "x", 2, 1.0),
    ("ann", "x", 4, 2.0),
    ("ann", "?", 1, 5.0),
    ("bob", "z", 0, 1.0),
    ("bob", "z", -1, 9.0),
    ("cat", "?", 3, 1.0),
]
"""User, item, age, events; ? is an item that the model does not know, age -1 is tomorrow."""
PEOPLE = pa.table(
    {
        "user_id": ["cat", "ann"],
        "age_bracket": ["18-24", "25-34"],
        "gender": ["f", None],
        "location": ["here", "there"],
    }
)


def interactions() -> Interactions:
    users, items, ages, events = zip(*ROWS, strict=True)
    days = [AS_OF - timedelta(days=age) for age in ages]
    return Interactions.from_table(
        pa.table({"user_id": users, "item_id": items, "date": days, "events": events})
    )


def histories(*users: int, traits: pa.Table | None = PEOPLE) -> Histories:
    return Histories.of(interactions(), np.array(users or (0, 1, 2)), ITEMS, AS_OF, traits)


def rows_of(each: Histories) -> list[tuple[int, int, int, float]]:
    columns = (each.owners, each.items, each.ages, each.events)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def known_of(each: Histories) -> list[dict[str, str | None]]:
    assert each.traits is not None
    return each.traits.to_pylist()


ANN = [(0, 0, 2, 1.0), (0, 0, 4, 2.0), (0, 0, 10, 3.0), (0, 1, 4, 1.0)]
BOB = (1, 2, 0, 1.0)


def test_rows_are_ordered_and_hold_nothing_of_other_items_or_later_days():
    each = histories()
    assert (each.users, each.width) == (3, 3)
    assert rows_of(each) == [*ANN, BOB]
    assert known_of(each) == [
        {"age_bracket": "25-34", "gender": None, "location": "there"},
        dict.fromkeys(TRAITS),
        {"age_bracket": "18-24", "gender": "f", "location": "here"},
    ]


def test_users_come_in_the_order_in_which_they_are_asked():
    each = histories(2, 1, 0)
    assert rows_of(each) == [BOB, *((2, *row[1:]) for row in ANN)]
    assert [row["location"] for row in known_of(each)] == ["here", None, "there"]
    assert histories(1, traits=None).traits is None


def test_staged_rows_give_the_same_as_interactions():
    lists: dict[str, list[list[tuple[str, int, float]]]] = {}
    for user, item, age, events in reversed(ROWS):
        if age >= 0:
            lists.setdefault(user, [[]])[0].append((item, age, events))
    users = ["ann", "bob", "cat"]
    held = [lists[user][0] for user in users]
    batch = pa.record_batch(
        {
            "item_ids": pa.array([[row[0] for row in each] for each in held]),
            "ages": pa.array([[row[1] for row in each] for each in held], pa.list_(pa.int32())),
            "events": pa.array([[row[2] for row in each] for each in held]),
            **{
                name: pa.array([values[name] for values in known_of(histories())], pa.string())
                for name in TRAITS
            },
        }
    )
    staged, cut = Histories.from_rows(batch, ITEMS), histories()
    assert rows_of(staged) == rows_of(cut) and known_of(staged) == known_of(cut)
    for name in ("owners", "items", "ages", "events"):
        assert getattr(staged, name).dtype == getattr(cut, name).dtype
    assert (staged.matrix(7.0) != cut.matrix(7.0)).nnz == 0
    # A slice, as a shard is read in.
    assert rows_of(Histories.from_rows(batch.slice(1), ITEMS)) == [(0, *BOB[1:])]


def staged(items: list[list[str] | None], ages: list[list[int] | None]) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "item_ids": pa.array(items, pa.list_(pa.string())),
            "ages": pa.array(ages, pa.list_(pa.int32())),
            "events": pa.array(ages, pa.list_(pa.int64())),
            **{name: pa.nulls(len(items), pa.string()) for name in TRAITS},
        }
    )


def test_no_list_and_an_empty_one_are_no_rows():
    each = Histories.from_rows(staged([None, [], ["y"]], [None, [], [1]]), ITEMS)
    assert each.users == 3 and rows_of(each) == [(2, 1, 1, 1.0)]
    assert each.indptr.tolist() == [0, 0, 0, 1]


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="length of lists"):
        Histories.from_rows(staged([["x"], ["y"]], [[1, 2], []]), ITEMS)


def test_entries_are_a_users_rows_of_one_item():
    each = histories()
    assert each.starts.tolist() == [0, 3, 4]
    assert each.entries.tolist() == [0, 1, 2] and each.entry_owners.tolist() == [0, 0, 1]
    assert each.indptr.tolist() == [0, 2, 3, 3]
    assert each.youngest.tolist() == [2, 4, 0]
    assert each.oldest.tolist() == [10, 4, 0]
    assert each.days.tolist() == [3, 1, 1]
    assert each.summed(each.events).tolist() == [6.0, 1.0, 1.0]


def test_events_halve_with_every_half_life():
    each = histories()
    assert each.decayed(2.0).tolist() == [0.5, 0.5, 3 / 32, 0.25, 1.0]
    assert each.decayed(None) is each.events
    assert each.matrix().toarray().tolist() == [[6, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert each.matrix(2.0).toarray()[0].tolist() == [1 + 3 / 32, 0.25, 0]
    assert each.matrix().dtype == np.float32


def test_values_are_reduced_per_user_and_empty_where_there_are_no_rows():
    each = histories()
    assert each.per_user(each.ages, np.minimum, -1.0).tolist() == [2.0, 0.0, -1.0]
    assert each.per_user(each.events, np.add, 0.0).tolist() == [7.0, 1.0, 0.0]


def test_a_part_is_what_these_users_alone_would_be():
    whole = histories()
    for start, stop in ((0, 1), (1, 3), (0, 3), (2, 2), (1, 9)):
        part = whole.part(start, stop)
        assert part.users == min(stop, 3) - start
        assert (
            rows_of(part)
            == [(r[0] - start, *r[1:]) for r in rows_of(whole) if r[0] >= start][
                : sum(start <= r[0] < stop for r in rows_of(whole))
            ]
        )
        assert known_of(part) == known_of(whole)[start:stop]


def test_onto_other_items_moves_rows_and_leaves_the_others_out():
    moved = histories().onto(np.array([1, -1, 4], dtype=np.int32), 6)
    assert moved.width == 6
    assert rows_of(moved) == [(0, 1, 2, 1), (0, 1, 4, 2), (0, 1, 10, 3), (1, 4, 0, 1)]
    assert known_of(moved) == known_of(histories())


def test_the_newest_days_are_counted_from_each_users_own_newest_row():
    each = histories()
    assert rows_of(each.newest(1)) == [ANN[0], BOB]
    assert rows_of(each.newest(2)) == [ANN[0], BOB]
    assert rows_of(each.newest(3)) == [ANN[0], ANN[1], ANN[3], BOB]
    assert rows_of(each.newest(9)) == rows_of(each)


def test_nobody_and_nothing_are_fine():
    nobody, nothing = histories().part(0, 0), histories(2)
    for each in (nobody, nothing):
        assert each.starts.tolist() == each.oldest.tolist() == each.days.tolist() == []
        assert each.summed(each.events).tolist() == []
        assert each.matrix(3.0).shape == (each.users, 3) and each.matrix().nnz == 0
        assert rows_of(each.newest(4)) == []


def test_positions_and_batches():
    assert positions(pa.array(["z", "?", "x", None]), ITEMS).tolist() == [2, -1, 0, -1]
    assert batches(5, 2) == [(0, 2), (2, 4), (4, 5)] and batches(0, 2) == []


def test_places_are_by_age_then_by_the_time_of_day():
    rows = pa.table(
        {
            "user_id": ["ann"] * 4 + ["bob"],
            "item_id": ["x", "x", "y", "z", "y"],
            "date": [AS_OF - timedelta(days=age) for age in (5, 1, 1, 9, 2)],
            "events": [1] * 5,
            "moment": [99, 10, 20, 500, 0],
        }
    )
    cut = Histories.of(Interactions.from_table(rows), np.array([0, 1]), ITEMS, AS_OF)
    # Ann took y last, then x, z long ago; bob has only y.
    assert cut.places.tolist() == [1, 0, 2, 0]
    assert cut.part(1, 2).places.tolist() == [0]
    assert cut.onto(np.array([0, -1, 1], dtype=np.int32), 2).places.tolist() == [0, 1]
    lists = {"item_ids": ["x", "y"], "ages": [1, 1], "events": [1.0, 1.0], "moments": [10, 20]}
    unknown = dict.fromkeys(TRAITS, "unknown")
    staged_rows = pa.Table.from_pylist([{**lists, **unknown}]).to_batches()[0]
    assert Histories.from_rows(staged_rows, ITEMS).places.tolist() == [1, 0]
    short = pa.Table.from_pylist([{**lists, "moments": [1], **unknown}]).to_batches()[0]
    with pytest.raises(ValueError, match="moments"):
        Histories.from_rows(short, ITEMS)


def test_ratings_go_with_their_rows_and_choose_among_them():
    rows = pa.table(
        {
            "user_id": ["ann"] * 3 + ["bob"],
            "item_id": ["z", "x", "y", "x"],
            "date": [AS_OF - timedelta(days=age) for age in (5, 1, 2, 2)],
            "events": [1] * 4,
            "rating": [5.0, 1.0, None, 4.0],
        }
    )
    known = Interactions.from_table(rows)
    assert known.are_rated and known.ratings is not None
    assert not Interactions.from_table(rows.drop_columns("rating")).are_rated
    nobody = rows.set_column(4, "rating", pa.nulls(4, pa.float64()))
    assert Interactions.from_table(nobody).ratings is None
    cut = Histories.of(known, np.array([0, 1]), ITEMS, AS_OF)
    assert cut.ratings is not None
    np.testing.assert_array_equal(cut.ratings, [1, np.nan, 5, 4])
    liked = cut.rated_above(3.5)
    assert liked.items.tolist() == [2, 0] and liked.owners.tolist() == [0, 1]
    assert liked.part(1, 2).ratings.tolist() == [4]
    assert len(cut.rated_above(-np.inf).items) == 3
    unrated = Histories.of(Interactions.from_table(nobody), np.array([0, 1]), ITEMS, AS_OF)
    assert not len(unrated.rated_above(-np.inf).items)
    # Out of a staged shard, the same.
    lists = {"item_ids": ["z", "x", "y"], "ages": [5, 1, 2], "events": [1.0] * 3}
    staged_rows = pa.Table.from_pylist(
        [{**lists, "ratings": [5.0, 1.0, None], **dict.fromkeys(TRAITS, "unknown")}]
    ).to_batches()[0]
    read = Histories.from_rows(staged_rows, ITEMS)
    np.testing.assert_array_equal(read.ratings, [1, np.nan, 5])


def test_a_matrix_can_be_changed_in_place_and_the_histories_stay_as_they_are():
    each = histories()
    before = each.entries.tolist(), each.indptr.tolist()
    changed = each.csr(np.arange(len(each.entries)) == 1)
    changed.eliminate_zeros()
    assert changed.nnz == 1
    assert (each.entries.tolist(), each.indptr.tolist()) == before
