"""States of the network are advanced by what is new, and are those of all items read anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.user_states import UserStates
from batch_predictions.models.recommender.generators.sequence import Sequence, SequenceParams
from batch_predictions_tests.worlds.checkerboard import AS_OF

USERS, ITEMS, DAYS = 40, 60, 30


def make_rows() -> pa.Table:
    """Users take items on some days, often several a day, some again, some only viewed."""
    random = np.random.default_rng(5)
    rows = 1_500
    return pa.table(
        {
            "user_id": [f"u{user:02}" for user in random.integers(0, USERS, rows)],
            "item_id": [f"i{item:02}" for item in random.integers(0, ITEMS, rows)],
            "date": [AS_OF - timedelta(days=int(d)) for d in random.integers(0, DAYS, rows)],
            "events": random.choice([0.25, 1.0, 2.0], rows),
            "event_time": random.integers(0, 9, rows),
        }
    )


ROWS = make_rows()
MODEL = Sequence.fit(
    Interactions.from_table(ROWS), AS_OF, SequenceParams(minutes=0.01, width=16, batch=8)
)


def read(rows: pa.Table, age: int) -> Histories:
    """Histories of the users of all rows, as of a number of days ago."""
    interactions = Interactions.from_table(rows)
    ids = Interactions.from_table(ROWS).user_ids
    day = AS_OF - timedelta(days=age)
    known = pc.index_in(ids, value_set=interactions.user_ids).to_numpy(zero_copy_only=False)
    assert not np.isnan(known).any()
    return Histories.from_interactions(interactions, known.astype(np.int64), MODEL.items, day)


def kept(rows: pa.Table, days: int = 1) -> UserStates:
    """States as they are read some days after their day."""
    return replace(MODEL.user_states(read(rows, days)), age=days)


@pytest.mark.parametrize("days", [1, 3, 29])
def test_advanced_states_are_equal_to_those_of_all_items(days: int) -> None:
    histories = read(ROWS, 0)
    from_scratch = MODEL.user_states(histories)
    advanced = MODEL.user_states(replace(histories, states=kept(ROWS, days)))
    assert np.abs(from_scratch.vectors).max() > 0.1
    np.testing.assert_array_equal(advanced.vectors, from_scratch.vectors)
    np.testing.assert_array_equal(advanced.digests, from_scratch.digests)
    np.testing.assert_array_equal(
        MODEL.queries(replace(histories, states=advanced)), MODEL.queries(histories)
    )


def test_only_new_items_are_read() -> None:
    histories = read(ROWS, 0)
    # Were the old items read again, states that are all wrong would be put right.
    wrong = kept(ROWS)
    wrong = replace(wrong, vectors=wrong.vectors + 1)
    has_new = np.zeros(USERS, dtype=bool)
    has_new[histories.entry_users[histories.days_since_first == 0]] = True
    advanced = MODEL.user_states(replace(histories, states=wrong)).vectors
    from_scratch = MODEL.user_states(histories).vectors
    assert 0 < has_new.sum() < USERS
    np.testing.assert_array_equal(advanced[~has_new], wrong.vectors[~has_new])
    assert (np.abs(advanced - from_scratch).max(axis=1) > 1e-3).all()


def test_an_item_that_is_taken_again_changes_no_state() -> None:
    first = ROWS.slice(0, 1)
    again = first.set_column(2, "date", pa.array([AS_OF], pa.date32()))
    rows = ROWS.filter(pc.less(ROWS["date"], AS_OF))
    oldest = pc.min(rows.filter(pc.equal(rows["user_id"], first["user_id"][0]))["date"]).as_py()
    old = first.set_column(2, "date", pa.array([oldest], pa.date32()))
    rows = pa.concat_tables([rows, old])
    states = kept(rows)
    advanced = MODEL.user_states(replace(read(pa.concat_tables([rows, again]), 0), states=states))
    np.testing.assert_array_equal(advanced.vectors, states.vectors)


def is_of(user: str) -> pa.ChunkedArray:
    return pc.equal(ROWS["user_id"], user)


def without_a_day(user: str) -> pa.Table:
    """A day of the user is corrected: its rows are gone."""
    day = ROWS.filter(is_of(user))["date"][0].as_py()
    return ROWS.filter(pc.invert(pc.and_(is_of(user), pc.equal(ROWS["date"], day))))


def without_history(user: str) -> pa.Table:
    """The user was erased, and came back today."""
    today = pc.equal(ROWS["date"], AS_OF)
    rows = ROWS.filter(pc.or_(pc.invert(is_of(user)), today))
    new = {"user_id": [user], "item_id": ["i07"], "date": [AS_OF], "events": [1.0]}
    return pa.concat_tables([rows, pa.table({**new, "event_time": [3]})])


def with_other_weights(user: str) -> pa.Table:
    """A type of events counts more."""
    is_viewed = pc.equal(ROWS["events"], 0.25)
    events = pc.if_else(pc.and_(is_of(user), is_viewed), 0.5, ROWS["events"])
    return ROWS.set_column(3, "events", events)


def in_another_order(user: str) -> pa.Table:
    """The times of day of the user's rows are corrected."""
    times = pc.if_else(is_of(user), pc.subtract(9, ROWS["event_time"]), ROWS["event_time"])
    return ROWS.set_column(4, "event_time", times)


@pytest.mark.parametrize(
    "corrected", [without_a_day, without_history, with_other_weights, in_another_order]
)
def test_a_correction_of_one_user_makes_that_state_anew(
    corrected: Callable[[str], pa.Table],
) -> None:
    rows, user = corrected("u05"), 5
    histories, states = read(rows, 0), kept(ROWS)
    from_scratch = MODEL.user_states(histories)
    advanced = MODEL.user_states(replace(histories, states=states))
    np.testing.assert_array_equal(advanced.vectors, from_scratch.vectors)
    before = MODEL.user_states(read(ROWS, 0)).vectors
    changed = np.flatnonzero((before != from_scratch.vectors).any(axis=1))
    assert changed.tolist() == [user]
    # The other users' states are advanced as before, even if they are wrong.
    wrong = replace(states, vectors=states.vectors + 1)
    from_wrong = MODEL.user_states(replace(histories, states=wrong)).vectors
    anew = np.flatnonzero((from_wrong == from_scratch.vectors).all(axis=1))
    assert anew.tolist() == [user]


@pytest.mark.parametrize("width", [8, 16])
def test_another_network_makes_all_states_anew(width: int) -> None:
    histories = read(ROWS, 0)
    params = SequenceParams(minutes=0.01, width=width, batch=8, seed=1)
    other = Sequence.fit(Interactions.from_table(ROWS), AS_OF, params)
    np.testing.assert_array_equal(
        other.user_states(replace(histories, states=kept(ROWS))).vectors,
        other.user_states(histories).vectors,
    )


def test_states_are_kept_by_user_when_users_are_split() -> None:
    histories = replace(read(ROWS, 0), states=kept(ROWS))
    whole = MODEL.user_states(histories).vectors
    parts = [
        MODEL.user_states(histories.slice_users(start, start + 7)).vectors
        for start in range(0, USERS, 7)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_states_are_read_as_they_were_written() -> None:
    states = kept(ROWS)
    rows = np.arange(0, 3 * USERS, 3)
    lists = states.to_lists(rows, 3 * USERS + 1)
    assert lists.is_valid().to_numpy(zero_copy_only=False).nonzero()[0].tolist() == rows.tolist()
    entries = lists.drop_null().flatten()
    columns = {name: entries.field(name) for name in ("state_digest", "state")}
    back = UserStates.from_rows(pa.RecordBatch.from_pydict(columns))
    assert back is not None and back.age == 1 and back.is_known.all()
    np.testing.assert_array_equal(back.vectors, states.vectors)
    np.testing.assert_array_equal(back.digests, states.digests)
    some = [
        value if place % 2 else None for place, value in enumerate(columns["state"].to_pylist())
    ]
    columns["state"] = pa.array(some, pa.list_(pa.float32()))
    half = UserStates.from_rows(pa.RecordBatch.from_pydict(columns))
    assert half is not None and half.is_known.tolist() == [p % 2 == 1 for p in range(USERS)]
    np.testing.assert_array_equal(half.vectors[1::2], states.vectors[1::2])
    with pytest.raises(ValueError, match="differ in length"):
        columns["state"] = pa.array([[1.0], *some[1:]], pa.list_(pa.float32()))
        UserStates.from_rows(pa.RecordBatch.from_pydict(columns))


def test_what_was_only_viewed_is_read_less() -> None:
    """Users buy one item after the other in a circle of all, and view others at random."""
    random = np.random.default_rng(0)
    hits, rows, following = [], [], {}
    for user in range(300):
        start, steps = int(random.integers(0, ITEMS)), int(random.integers(3, 7))
        circle = (start + np.arange(ITEMS)) % ITEMS
        viewed = random.choice(circle[steps + 1 :], 3 * steps, replace=False)
        for step in range(steps):
            items = [circle[step], *viewed[3 * step : 3 * step + 3]]
            for place, item in enumerate(items):
                weight = 0.05 if place else 1.0
                rows.append((f"u{user:03}", f"i{item:02}", 4 * step + place, weight))
        if user % 2:
            rows.append((f"u{user:03}", f"i{circle[steps]:02}", 4 * steps, 1.0))
        else:
            following[f"u{user:03}"] = circle[steps]
    user_ids, item_ids, times, events = (list(column) for column in zip(*rows, strict=True))
    columns = {"user_id": user_ids, "item_id": item_ids, "event_time": times}
    dates = [AS_OF] * len(rows)
    for weights in (events, [1.0] * len(rows)):
        interactions = Interactions.from_table(
            pa.table({**columns, "date": dates, "events": weights})
        )
        params = SequenceParams(minutes=0.02, width=16, batch=16, dropout=0.0, learning_rate=1e-2)
        model = Sequence.fit(interactions, AS_OF, params)
        users = np.arange(len(interactions.user_ids))
        histories = Histories.from_interactions(interactions, users, model.items, AS_OF)
        scores = np.where(histories.matrix().toarray() > 0, -np.inf, model.scores(histories))
        asked = [u in following for u in interactions.user_ids.to_pylist()]
        hits.append((scores.argmax(axis=1)[asked] == list(following.values())).mean())
    with_weights, without = hits
    assert with_weights > 0.9 and without < 0.3
