"""What the lists of recommendations read from staged rows."""

from __future__ import annotations

import pyarrow as pa

from batch_predictions.predictions.recommendation_lists import _EventLists


def test_a_null_list_of_flags_means_all_items() -> None:
    ids = pa.array([["a", "b"], ["b", "c"], None], pa.list_(pa.string()))
    flags = pa.array([[True, False], None, None], pa.list_(pa.bool_()))
    rows = pa.record_batch({"item_ids": ids, "targets": flags.cast(pa.list_(pa.float64()))})
    events = _EventLists(rows)
    assert [events.taken_items(row) for row in range(3)] == [{"a"}, {"b", "c"}, set()]
    assert [events.seen_items(row) for row in range(3)] == [{"a", "b"}, {"b", "c"}, set()]
    events = _EventLists(rows.append_column("is_seen", flags))
    assert [events.seen_items(row) for row in range(3)] == [{"a"}, {"b", "c"}, set()]
