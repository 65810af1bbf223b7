"""Hold-outs: by one cut in time, by user, and by each user's newest items."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.splits import (
    Holdout,
    hold_out,
    leave_last_out,
    leave_out,
    split_by_time,
    split_newest,
)
from batch_predictions_tests.worlds.holdouts import (
    CUT_DAY,
    DAY_AFTER,
    DAY_BEFORE,
    INTERACTIONS,
    evaluate_popularity,
    event_table,
)


def test_rows_of_one_date_are_split_by_user_and_the_result_says_so() -> None:
    rows = [(f"u{u}", f"i{i}", DAY_BEFORE, 1) for u in range(4) for i in range(u * 4 + 1)]
    interactions = Interactions.from_table(event_table(*rows))
    holdout = hold_out(interactions, through=DAY_AFTER, holdout_days=7, exclude_seen=False, seed=1)
    assert holdout.split == "leave_out" and holdout.masks_seen
    # u0 has one item and keeps it; the others give a fifth of theirs, at least one.
    assert np.diff(holdout.relevant.indptr).tolist() == [1, 1, 2]
    again = leave_out(interactions, as_of=DAY_AFTER, seed=1)
    other = leave_out(interactions, as_of=DAY_AFTER, seed=2)
    assert (holdout.relevant != again.relevant).nnz == 0
    assert (
        holdout.relevant.shape != other.relevant.shape or (holdout.relevant != other.relevant).nnz
    )
    assert evaluate_popularity(holdout).split == "leave_out"


def test_split_newest_orders_rows_by_time_of_day() -> None:
    # Ten rows on two days, two of them at one moment; ann and bob came before, cat afterwards.
    rows = [("ann", f"i{n}", DAY_BEFORE, 1) for n in range(4)]
    rows += [("bob", f"i{n}", DAY_AFTER, 1) for n in range(3)]
    rows += [("ann", "i7", DAY_AFTER, 1), ("bob", "i8", DAY_AFTER, 1), ("cat", "i9", DAY_AFTER, 1)]
    times = [9, 8, 7, 6, 1, 2, 3, 4, 4, 5]
    interactions = Interactions.from_table(
        event_table(*rows).append_column("event_time", pa.array(times))
    )
    holdout = split_newest(interactions, 0.3, exclude_seen=True)
    assert (holdout.split, holdout.as_of, len(holdout.train)) == ("time", DAY_AFTER, 7)
    users = [holdout.train.user_ids[int(user)].as_py() for user in holdout.users]
    hidden = [[holdout.item_ids[int(i)].as_py() for i in row.indices] for row in holdout.relevant]
    assert dict(zip(users, hidden, strict=True)) == {"ann": ["i7"], "bob": ["i8"]}
    # What happened at one moment stays on one side: a fifth would cut between i7 and i8.
    assert len(split_newest(interactions, 0.2, exclude_seen=True).train) == 7
    assert len(split_newest(interactions, 0.1, exclude_seen=True).train) == 9
    # Without the time of day a day stays on one side.
    by_day = split_newest(Interactions.from_table(event_table(*rows)), 0.3, exclude_seen=True)
    assert (by_day.as_of, len(by_day.train)) == (DAY_BEFORE, 4)
    assert evaluate_popularity(by_day).n == 1


def test_leave_last_out_orders_items_by_time_of_day() -> None:
    # u0 took 20 items on one day, from the last to the first, and the first one again at the end.
    times = [*range(20, 0, -1), 30]
    rows = [("u0", f"i{i:02}", DAY_BEFORE, 1) for i in [*range(20), 19]]
    rows += [("u1", f"i{i:02}", day, 1) for i, day in enumerate([DAY_AFTER, *[DAY_BEFORE] * 9])]
    rows += [("u2", f"i{i:02}", DAY_BEFORE, 1) for i in range(9)]
    interactions = event_table(*rows).append_column("event_time", pa.array([*times, *range(19)]))
    holdout = leave_last_out(Interactions.from_table(interactions), as_of=DAY_AFTER)
    users = [holdout.train.user_ids[int(user)].as_py() for user in holdout.users]
    hidden = [[holdout.item_ids[int(i)].as_py() for i in row.indices] for row in holdout.relevant]
    # A tenth of 20 and of 10 items; u2 has too few. Item 19 was first taken long before.
    assert dict(zip(users, hidden, strict=True)) == {"u0": ["i00", "i01"], "u1": ["i00"]}
    assert holdout.split == "leave_newest" and holdout.masks_seen
    assert len(holdout.train) == len(rows) - 3
    # One item of each user, however few it has.
    one = leave_last_out(Interactions.from_table(interactions), as_of=DAY_AFTER, share=0, least=1)
    hidden = [[one.item_ids[int(i)].as_py() for i in row.indices] for row in one.relevant]
    assert hidden == [["i00"], ["i00"], ["i08"]]
    # Without the time of day the day decides.
    by_day = leave_last_out(Interactions.from_table(event_table(*rows)), as_of=DAY_AFTER)
    assert {len(row.indices) for row in by_day.relevant} == {1, 2}
    assert evaluate_popularity(by_day).n == 2


def test_a_large_holdout_is_evaluated_on_a_seeded_sample() -> None:
    holdout = split_by_time(INTERACTIONS, cut=CUT_DAY, exclude_seen=False, max_users=2, seed=4)
    assert evaluate_popularity(holdout).n == 2


def typed_interactions() -> Interactions:
    """Ann viewed a and b and bought c; afterwards she bought a and c again, and viewed d."""
    rows = [("ann", "a", DAY_BEFORE, 1), ("ann", "b", DAY_BEFORE, 1), ("ann", "c", DAY_BEFORE, 1)]
    rows += [("ann", "a", DAY_AFTER, 1), ("ann", "c", DAY_AFTER, 1), ("ann", "d", DAY_AFTER, 1)]
    table = event_table(*rows)
    is_purchase = [False, False, True, True, True, False]
    table = table.append_column("targets", pa.array([float(value) for value in is_purchase]))
    return Interactions.from_table(table.append_column("is_seen", pa.array(is_purchase)))


def hidden_items(holdout: Holdout) -> list[list[str]]:
    return [[holdout.item_ids[int(i)].as_py() for i in row.indices] for row in holdout.relevant]


def test_only_targets_are_relevant_and_only_seen_types_bar_an_item() -> None:
    interactions = typed_interactions()
    holdout = split_by_time(interactions, cut=CUT_DAY, exclude_seen=True)
    # a was viewed, not bought: it may be offered. c was bought before. d was only viewed.
    assert hidden_items(holdout) == [["a"]] and len(holdout.train) == 3
    holdout = split_by_time(interactions, cut=CUT_DAY, exclude_seen=False)
    assert hidden_items(holdout) == [["a", "c"]]


def test_only_targets_are_hidden_and_all_rows_of_their_items() -> None:
    interactions = typed_interactions()
    holdout = leave_out(interactions, as_of=DAY_AFTER, seed=1, share=0.5)
    [[item]] = hidden_items(holdout)
    assert item in ("a", "c") and item not in holdout.train.item_ids.to_pylist()
    holdout = leave_last_out(interactions, DAY_AFTER, share=0.5)
    # The newest bought item by its first purchase: a.
    assert hidden_items(holdout) == [["a"]]
    assert holdout.train.item_ids.to_pylist() == ["b", "c", "d"]
