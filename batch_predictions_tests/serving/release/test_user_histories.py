"""Histories equal those of a plain loop over events, whatever the ranges of users."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_predictions.serving.release import context_tables, user_histories
from batch_predictions.serving.release.context_tables import ContextChoice, draft_context
from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.serving.store.release_contents import ReleaseContents
from batch_predictions.tables import INTERACTIONS
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world
from batch_predictions_tests.worlds.user_events import HISTORY, Event, ago, write_events


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingWorld]:
    world = open_world(tmp_path_factory.mktemp("history") / "home")
    yield world
    world.store.close()


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 4).map(ago),
        st.sampled_from(["u1", "u2"]),
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from(["purchase", "view", "wishlist"]),
        st.sampled_from([None, 1.0, -1.0]),
        st.one_of(st.none(), st.integers(0, 2)),
    ),
    min_size=1,
    max_size=25,
)


@given(
    events=EVENTS,
    items=st.integers(1, 4),
    days=st.integers(1, 5),
    range_rows=st.sampled_from([1, 4, user_histories.RANGE_ROWS]),
)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_histories_equal_those_of_a_plain_loop(
    shop: ServingWorld, events: list[Event], items: int, days: int, range_rows: int
) -> None:
    for key in shop.warehouse.partitions(INTERACTIONS):
        shop.warehouse.remove_partition(INTERACTIONS, key)
    write_events(shop, events)
    choice = dataclasses.replace(HISTORY, history_items=items, history_days=days)
    contents = ReleaseContents(DAY, (), None, None)
    with (
        mock.patch.object(user_histories, "RANGE_ROWS", range_rows),
        draft_context(shop.warehouse, contents, choice) as [draft],
    ):
        rows = shop.warehouse.query(f"from {draft.rows_sql()}").to_pylist()
    expected = []
    for user in sorted({event[1] for event in events}):
        read = [e for e in events if e[1] == user and e[3] in HISTORY.event_types]
        read = [e for e in read if ago(days - 1) <= e[0] <= DAY]
        entries = []
        for item in {event[2] for event in read}:
            own = [event for event in read if event[2] == item]
            # Without an hour: after those that have one.
            hour = max(-1 if e[5] is None else (e[0] - ago(9)).days * 24 + e[5] for e in own)
            last_on = max(e[0] for e in own)
            types = sorted({"return" if (e[4] or 0) < 0 else e[3] for e in own})
            entries.append((-last_on.toordinal(), -hour, -len(own), item, types))
        expected += [
            (user, place, entry[3], -entry[2], entry[4])
            for place, entry in enumerate(sorted(entries)[:items], 1)
        ]
    names = ("user_id", "position", "item_id", "events", "event_types")
    assert [tuple(row[name] for name in names) for row in rows] == expected


@pytest.mark.parametrize("number", [context_tables.MAX_EVENT_TYPES, 127])
def test_every_type_of_events_is_told_apart_up_to_a_limit(shop: ServingWorld, number: int) -> None:
    for key in shop.warehouse.partitions(INTERACTIONS):
        shop.warehouse.remove_partition(INTERACTIONS, key)
    types = [f"t{n:03}" for n in range(1, number)]
    write_events(shop, [(DAY, "u1", f"i-{name}", name, None, None) for name in types])
    choice = ContextChoice(history_items=200, event_types=tuple(types))
    contents = ReleaseContents(DAY, (), None, None)
    if number > context_tables.MAX_EVENT_TYPES:
        with pytest.raises(ReleaseError, match="127 types of events, at most 126"):
            draft_context(shop.warehouse, contents, choice).__enter__()
        return
    with draft_context(shop.warehouse, contents, choice) as [draft]:
        rows = shop.warehouse.query(f"from {draft.rows_sql()}").to_pylist()
    assert {row["item_id"]: row["event_types"] for row in rows} == {
        f"i-{name}": [name] for name in types
    }
