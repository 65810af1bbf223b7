"""Interactions and histories: ids, dates, sums."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.staged_histories import IdLookup, read_histories
from batch_predictions.tables import TRAITS

TABLE = pa.table(
    {
        "user_id": ["b", "a", "b", "b"],
        "item_id": ["y", "x", "x", "y"],
        "date": pa.array([date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 3)]),
        "events": [1, 2, 3, 4],
    }
)


def test_ids_are_sorted_and_events_summed() -> None:
    interactions = Interactions.from_table(TABLE)
    assert interactions.user_ids.to_pylist() == ["a", "b"]
    assert interactions.item_ids.to_pylist() == ["x", "y"]
    assert interactions.matrix().toarray().tolist() == [[2, 0], [3, 5]]
    assert interactions.matrix().dtype == np.float32


def test_up_to_and_after_part_the_rows_and_keep_only_their_ids() -> None:
    interactions = Interactions.from_table(TABLE)
    early, late = interactions.up_to(date(2024, 1, 2)), interactions.after(date(2024, 1, 2))
    assert (len(early), len(late)) == (2, 2)
    assert late.user_ids.to_pylist() == ["b"]
    assert late.matrix().toarray().tolist() == [[3, 4]]
    assert early.matrix().toarray().tolist() == [[2, 0], [0, 1]]
    assert not early.has_single_date and late.has_single_date


def test_weights_halve_with_age_and_do_not_grow_in_the_future() -> None:
    weights = Interactions.from_table(TABLE).recency_weights(1.0, date(2024, 1, 2))
    assert sorted(weights) == [0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE.drop_columns("events"), "lack"),
        (TABLE.set_column(0, "user_id", pa.array(["a", None, "b", "b"])), "nulls"),
        (TABLE.set_column(3, "events", pa.array([1, 0, 1, 1])), "positive"),
    ],
)
def test_rows_that_break_the_contract_are_refused(table: pa.Table, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Interactions.from_table(table)


def test_no_rows_are_fine() -> None:
    empty = Interactions.from_table(TABLE.slice(0, 0))
    assert len(empty) == 0 and empty.matrix().shape == (0, 0) and not empty.has_single_date


def staged(ids: pa.Array, counts: pa.Array) -> pa.RecordBatch:
    """Rows as a shard has them, every event on the day itself."""
    ages = pa.array(
        [None if days is None else [0] * len(days) for days in counts.to_pylist()],
        pa.list_(pa.int32()),
    )
    unknown = pa.array(["unknown"] * len(ids))
    columns = {"item_ids": ids, "ages": ages, "events": counts}
    return pa.RecordBatch.from_pydict({**columns, **dict.fromkeys(TRAITS, unknown)})


def test_histories_drop_unknown_items() -> None:
    items = pa.array(["x", "y", "z"])
    ids = pa.array([["y", "?", "y"], None, [], ["z", None, "x"]], pa.list_(pa.string()))
    counts = pa.array([[1, 9, 2], None, [], [None, 1, 4]], pa.list_(pa.int64()))
    expected = [[0, 3, 0], [0, 0, 0], [0, 0, 0], [4, 0, 0]]
    rows = staged(ids, counts)
    assert read_histories(rows, IdLookup.of(items)).matrix().toarray().tolist() == expected
    part = read_histories(rows.slice(2), IdLookup.of(items))
    assert part.matrix().toarray().tolist() == expected[2:]


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        read_histories(staged(pa.array([["x"]]), pa.array([[1, 2]])), IdLookup.of(pa.array(["x"])))
