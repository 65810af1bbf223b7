"""Histories: equal from interactions and from the lists of a staged shard."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.histories import Histories, spans
from batch_predictions.models.recommender.data.interactions import Interactions, positions_in
from batch_predictions.models.recommender.data.staged_histories import (
    IdLookup,
    StagedItems,
    read_histories,
)
from batch_predictions.tables import TRAITS

AS_OF = date(2024, 3, 31)
ITEMS = pa.array(["x", "y", "z"])
LOOKUP = IdLookup.of(ITEMS)
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
"""User, item, age, events; "?" is an item that the model does not know, age -1 is tomorrow."""
USER_TRAITS = pa.table(
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


def make_histories(*users: int, traits: pa.Table | None = USER_TRAITS) -> Histories:
    return Histories.from_interactions(
        interactions(), np.array(users or (0, 1, 2)), ITEMS, AS_OF, traits
    )


def rows_of(histories: Histories) -> list[tuple[int, int, int, float]]:
    columns = (histories.user_index, histories.items, histories.ages, histories.events)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def traits_of(histories: Histories) -> list[dict[str, str | None]]:
    assert histories.traits is not None
    return histories.traits.to_pylist()


ANN = [(0, 0, 2, 1.0), (0, 0, 4, 2.0), (0, 0, 10, 3.0), (0, 1, 4, 1.0)]
BOB = (1, 2, 0, 1.0)


def test_rows_are_ordered_without_other_items_and_later_days() -> None:
    histories = make_histories()
    assert (histories.users, histories.width) == (3, 3)
    assert rows_of(histories) == [*ANN, BOB]
    assert traits_of(histories) == [
        {"age_bracket": "25-34", "gender": None, "location": "there"},
        dict.fromkeys(TRAITS),
        {"age_bracket": "18-24", "gender": "f", "location": "here"},
    ]


def test_users_are_in_the_order_of_the_argument() -> None:
    histories = make_histories(2, 1, 0)
    assert rows_of(histories) == [BOB, *((2, *row[1:]) for row in ANN)]
    assert [row["location"] for row in traits_of(histories)] == ["here", None, "there"]
    assert make_histories(1, traits=None).traits is None


def test_staged_rows_give_the_same_as_interactions() -> None:
    lists: dict[str, list[list[tuple[str, int, float]]]] = {}
    for user, item, age, events in reversed(ROWS):
        if age >= 0:
            lists.setdefault(user, [[]])[0].append((item, age, events))
    users = ["ann", "bob", "cat"]
    user_rows = [lists[user][0] for user in users]
    batch = pa.record_batch(
        {
            "item_ids": pa.array([[row[0] for row in rows] for rows in user_rows]),
            "ages": pa.array(
                [[row[1] for row in rows] for rows in user_rows], pa.list_(pa.int32())
            ),
            "events": pa.array([[row[2] for row in rows] for rows in user_rows]),
            **{
                name: pa.array(
                    [values[name] for values in traits_of(make_histories())], pa.string()
                )
                for name in TRAITS
            },
        }
    )
    staged, computed = read_histories(batch, LOOKUP), make_histories()
    assert rows_of(staged) == rows_of(computed) and traits_of(staged) == traits_of(computed)
    for name in ("user_index", "items", "ages", "events"):
        assert getattr(staged, name).dtype == getattr(computed, name).dtype
    assert (staged.matrix(7.0) != computed.matrix(7.0)).nnz == 0
    # A slice, as a shard is read in.
    assert rows_of(read_histories(batch.slice(1), LOOKUP)) == [(0, *BOB[1:])]


def staged_batch(
    items: Sequence[Sequence[str | None] | None], ages: list[list[int] | None]
) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "item_ids": pa.array(items, pa.list_(pa.string())),
            "ages": pa.array(ages, pa.list_(pa.int32())),
            "events": pa.array(ages, pa.list_(pa.int64())),
            **{name: pa.nulls(len(items), pa.string()) for name in TRAITS},
        }
    )


def test_null_and_empty_lists_are_no_rows() -> None:
    histories = read_histories(staged_batch([None, [], ["y"]], [None, [], [1]]), LOOKUP)
    assert histories.users == 3 and rows_of(histories) == [(2, 1, 1, 1.0)]
    assert histories.indptr.tolist() == [0, 0, 0, 1]


def test_a_null_list_says_that_all_rows_are_as_usual() -> None:
    rows = staged_batch([["x", "y"], ["y"], ["z", "z"], None], [[1, 2], [3], [4, 5], None])
    lists = {
        "targets": pa.array([[0, 2], None, [4, None], None], pa.list_(pa.float64())),
        "is_seen": pa.array([None, None, [False, None], None], pa.list_(pa.bool_())),
        "timestamps": pa.array([None, [7], [9, None], None], pa.list_(pa.int64())),
        "ratings": pa.array([None] * 4, pa.list_(pa.float64())),
    }
    for name, values in lists.items():
        rows = rows.append_column(name, values)
    histories = read_histories(rows, LOOKUP)
    assert histories.targets is not None and histories.targets.tolist() == [0, 2, 3, 4, 0]
    assert histories.seen is not None and histories.seen.tolist() == [True] * 3 + [False] * 2
    assert histories.timestamps is not None and histories.timestamps.tolist() == [0, 0, 7, 9, 0]
    assert histories.ratings is None
    with pytest.raises(ValueError, match="item_ids and targets differ in length"):
        read_histories(
            rows.slice(1).set_column(6, "targets", pa.array([[1, 2], [4, 5], None])), LOOKUP
        )


def test_a_null_list_of_flags_means_all_items() -> None:
    ids = pa.array([["a", "b"], ["b", "c"], None], pa.list_(pa.string()))
    flags = pa.array([[True, False], None, None], pa.list_(pa.bool_()))
    rows = pa.record_batch({"item_ids": ids, "targets": flags.cast(pa.list_(pa.float64()))})
    items = StagedItems(rows)
    assert [items.taken(row) for row in range(3)] == [{"a"}, {"b", "c"}, set()]
    assert [items.seen(row) for row in range(3)] == [{"a", "b"}, {"b", "c"}, set()]
    items = StagedItems(rows.append_column("is_seen", flags))
    assert [items.seen(row) for row in range(3)] == [{"a"}, {"b", "c"}, set()]


def test_dictionary_encoded_ids_are_the_same() -> None:
    rows = staged_batch([["x", "y", None], None, ["?", "z"]], [[1, 2, 3], None, [4, 5]])
    encoded = pa.ListArray.from_arrays(
        rows["item_ids"].offsets, rows["item_ids"].values.dictionary_encode()
    )
    other = rows.set_column(0, "item_ids", encoded)
    assert rows_of(read_histories(other, LOOKUP)) == rows_of(read_histories(rows, LOOKUP))
    assert rows_of(read_histories(other.slice(1), LOOKUP)) == [(1, 2, 5, 5.0)]


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        read_histories(staged_batch([["x"], ["y"]], [[1, 2], []]), LOOKUP)
    with pytest.raises(ValueError, match="an age is negative"):
        read_histories(staged_batch([["x"], ["y"]], [[1], [-1]]), LOOKUP)


def test_entries_are_a_users_rows_of_one_item() -> None:
    histories = make_histories()
    assert histories.entry_starts.tolist() == [0, 3, 4]
    assert histories.entry_items.tolist() == [0, 1, 2] and histories.entry_users.tolist() == [
        0,
        0,
        1,
    ]
    assert histories.indptr.tolist() == [0, 2, 3, 3]
    assert histories.days_since_last.tolist() == [2, 4, 0]
    assert histories.days_since_first.tolist() == [10, 4, 0]
    assert histories.days_per_entry.tolist() == [3, 1, 1]
    assert histories.sum_per_entry(histories.events).tolist() == [6.0, 1.0, 1.0]


def test_events_halve_with_every_half_life() -> None:
    histories = make_histories()
    assert histories.decayed_events_per_entry(2.0).tolist() == [1 + 3 / 32, 0.25, 1.0]
    assert histories.decayed_events_per_entry(None).tolist() == [6.0, 1.0, 1.0]
    assert histories.matrix().toarray().tolist() == [[6, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert histories.matrix(2.0).toarray()[0].tolist() == [1 + 3 / 32, 0.25, 0]
    assert histories.matrix().dtype == np.float32


def test_values_are_reduced_per_user_and_empty_where_there_are_no_rows() -> None:
    histories = make_histories()
    assert histories.reduce_per_user(histories.ages, np.minimum, -1.0).tolist() == [2.0, 0.0, -1.0]
    assert histories.reduce_per_user(histories.events, np.add, 0.0).tolist() == [7.0, 1.0, 0.0]


def test_a_slice_of_users_equals_their_histories_alone() -> None:
    all_users = make_histories()
    for start, stop in ((0, 1), (1, 3), (0, 3), (2, 2), (1, 9)):
        subset = all_users.slice_users(start, stop)
        assert subset.users == min(stop, 3) - start
        assert (
            rows_of(subset)
            == [(r[0] - start, *r[1:]) for r in rows_of(all_users) if r[0] >= start][
                : sum(start <= r[0] < stop for r in rows_of(all_users))
            ]
        )
        assert traits_of(subset) == traits_of(all_users)[start:stop]


def test_reindex_moves_rows_to_other_items_and_drops_the_rest() -> None:
    moved = make_histories().reindex(np.array([1, -1, 4], dtype=np.int32), 6)
    assert moved.width == 6
    assert rows_of(moved) == [(0, 1, 2, 1), (0, 1, 4, 2), (0, 1, 10, 3), (1, 4, 0, 1)]
    assert traits_of(moved) == traits_of(make_histories())


def test_last_active_days_are_counted_from_each_users_newest_row() -> None:
    histories = make_histories()
    assert rows_of(histories.last_active_days(1)) == [ANN[0], BOB]
    assert rows_of(histories.last_active_days(2)) == [ANN[0], BOB]
    assert rows_of(histories.last_active_days(3)) == [ANN[0], ANN[1], ANN[3], BOB]
    assert rows_of(histories.last_active_days(9)) == rows_of(histories)


def test_no_users_and_no_rows_give_empty_results() -> None:
    no_users, no_rows = make_histories().slice_users(0, 0), make_histories(2)
    for histories in (no_users, no_rows):
        assert (
            histories.entry_starts.tolist()
            == histories.days_since_first.tolist()
            == histories.days_per_entry.tolist()
            == []
        )
        assert histories.sum_per_entry(histories.events).tolist() == []
        assert histories.matrix(3.0).shape == (histories.users, 3) and histories.matrix().nnz == 0
        assert rows_of(histories.last_active_days(4)) == []


def test_positions_in_and_spans() -> None:
    assert positions_in(pa.array(["z", "?", "x", None]), ITEMS).tolist() == [2, -1, 0, -1]
    assert spans(5, 2) == [(0, 2), (2, 4), (4, 5)] and spans(0, 2) == []


def test_recency_rank_is_by_age_then_by_time_of_day() -> None:
    rows = pa.table(
        {
            "user_id": ["ann"] * 4 + ["bob"],
            "item_id": ["x", "x", "y", "z", "y"],
            "date": [AS_OF - timedelta(days=age) for age in (5, 1, 1, 9, 2)],
            "events": [1] * 5,
            "event_time": [99, 10, 20, 500, 0],
        }
    )
    computed = Histories.from_interactions(
        Interactions.from_table(rows), np.array([0, 1]), ITEMS, AS_OF
    )
    # Ann took y last, then x, z long ago; bob has only y.
    assert computed.recency_rank.tolist() == [1, 0, 2, 0]
    assert computed.slice_users(1, 2).recency_rank.tolist() == [0]
    assert computed.reindex(np.array([0, -1, 1], dtype=np.int32), 2).recency_rank.tolist() == [0, 1]
    lists = {"item_ids": ["x", "y"], "ages": [1, 1], "events": [1.0, 1.0], "timestamps": [10, 20]}
    unknown = dict.fromkeys(TRAITS, "unknown")
    staged_rows = pa.Table.from_pylist([{**lists, **unknown}]).to_batches()[0]
    assert read_histories(staged_rows, LOOKUP).recency_rank.tolist() == [1, 0]
    short = pa.Table.from_pylist([{**lists, "timestamps": [1], **unknown}]).to_batches()[0]
    with pytest.raises(ValueError, match="timestamps"):
        read_histories(short, LOOKUP)


def test_ratings_stay_with_their_rows_and_filter_them() -> None:
    rows = pa.table(
        {
            "user_id": ["ann"] * 3 + ["bob"],
            "item_id": ["z", "x", "y", "x"],
            "date": [AS_OF - timedelta(days=age) for age in (5, 1, 2, 2)],
            "events": [1] * 4,
            "rating": [5.0, 1.0, None, 4.0],
        }
    )
    interactions = Interactions.from_table(rows)
    assert interactions.has_ratings and interactions.ratings is not None
    assert not Interactions.from_table(rows.drop_columns("rating")).has_ratings
    unrated_rows = rows.set_column(4, "rating", pa.nulls(4, pa.float64()))
    assert Interactions.from_table(unrated_rows).ratings is None
    computed = Histories.from_interactions(interactions, np.array([0, 1]), ITEMS, AS_OF)
    assert computed.ratings is not None
    np.testing.assert_array_equal(computed.ratings, [1, np.nan, 5, 4])
    liked = computed.rated_above(3.5)
    assert liked.items.tolist() == [2, 0] and liked.user_index.tolist() == [0, 1]
    ratings = liked.slice_users(1, 2).ratings
    assert ratings is not None and ratings.tolist() == [4]
    assert len(computed.rated_above(-np.inf).items) == 3
    unrated = Histories.from_interactions(
        Interactions.from_table(unrated_rows), np.array([0, 1]), ITEMS, AS_OF
    )
    assert not len(unrated.rated_above(-np.inf).items)
    # Out of a staged shard, the same.
    lists = {"item_ids": ["z", "x", "y"], "ages": [5, 1, 2], "events": [1.0] * 3}
    staged_rows = pa.Table.from_pylist(
        [{**lists, "ratings": [5.0, 1.0, None], **dict.fromkeys(TRAITS, "unknown")}]
    ).to_batches()[0]
    read = read_histories(staged_rows, LOOKUP)
    np.testing.assert_array_equal(read.ratings, [1, np.nan, 5])


def test_a_matrix_can_be_changed_in_place_and_the_histories_stay_as_they_are() -> None:
    histories = make_histories()
    before = histories.entry_items.tolist(), histories.indptr.tolist()
    changed = histories.to_csr(np.arange(len(histories.entry_items)) == 1)
    changed.eliminate_zeros()
    assert changed.nnz == 1
    assert (histories.entry_items.tolist(), histories.indptr.tolist()) == before


def test_events_of_other_types_weigh_less_and_bar_nothing() -> None:
    batch = pa.RecordBatch.from_pylist(
        [
            {
                "item_ids": ["a", "a", "b"],
                "ages": [3, 1, 2],
                "events": [1.0, 0.1, 0.3],
                "targets": [1.0, 0.0, 0.0],
                "is_seen": [True, False, False],
                **dict.fromkeys(TRAITS),
            }
        ]
    )
    histories = read_histories(batch, IdLookup.of(pa.array(["a", "b"])))
    assert histories.entry_is_target.tolist() == histories.entry_is_seen.tolist() == [True, False]
    assert histories.seen_matrix().toarray().tolist() == [[1.0, 0.0]]
    assert histories.entry_strength.tolist() == pytest.approx([1.0, 0.3])
    assert histories.days_since_target[0] == 3 and np.isnan(histories.days_since_target[1])
    assert histories.decayed_targets_per_entry(3).tolist() == [0.5, 0.0]
    purchases = batch.set_column(3, "targets", batch["events"]).set_column(
        4, "is_seen", pa.array([[True, True, True]])
    )
    plain = read_histories(purchases, IdLookup.of(pa.array(["a", "b"])))
    assert plain.targets is None and plain.seen is None and plain.entry_is_seen.all()
