"""Ids are found as by pyarrow."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.recommender.data.staged_histories import IdLookup

IDS = st.one_of(st.text(max_size=3), st.sampled_from(["", "a", "b", "i0001", "i0002", "\u00e9"]))


@settings(max_examples=200, deadline=None)
@given(
    known=st.lists(IDS, max_size=60),
    wanted=st.lists(st.one_of(st.none(), IDS), max_size=60),
    start=st.integers(0, 5),
)
def test_positions_are_those_of_index_in(
    known: list[str], wanted: list[str | None], start: int
) -> None:
    ids, table = pa.array(wanted, pa.string())[start:], pa.array(known, pa.string())[start:]
    expected = pc.fill_null(pc.index_in(ids, value_set=table, skip_nulls=True), -1).to_pylist()
    lookup = IdLookup.of(table)
    assert len(lookup) == len(table)
    assert lookup.find(ids).tolist() == expected
    assert lookup.find(ids.dictionary_encode()).tolist() == expected
    assert lookup.find(ids.cast(pa.large_string())).tolist() == expected


def test_many_ids_are_found() -> None:
    ids = pa.array([f"item-{number}" for number in range(20_000)])
    assert IdLookup.of(ids).find(ids[::-1]).tolist() == list(range(19_999, -1, -1))


def test_no_ids_are_found_among_none() -> None:
    none = pa.array([], pa.string())
    assert IdLookup.of(none).find(pa.array(["a", None])).tolist() == [-1, -1]
    assert IdLookup.of(pa.array(["a"])).find(pa.nulls(2)).tolist() == [-1, -1]
    assert IdLookup.of(pa.array(["a"])).find(none).tolist() == []
