"""Publishing that fails, is overtaken or leaves something behind; releases that are removed."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release.pointer import ReleaseError
from batch_predictions.serving.release.publish import publish, releases, rollback
from batch_predictions.serving.release.release_contents import read_release_contents
from batch_predictions.serving.store import copy_rows as loading
from batch_predictions.serving.store.schema import ITEMS, RELEASES, USERS
from batch_predictions_tests.worlds.serving import (
    DAY,
    NOW,
    TABLES,
    World,
    ids,
    rows_of,
    served,
    world,
)

NEXT = DAY + dt.timedelta(days=1)


def test_releases_beyond_those_kept_are_removed_with_their_rows(here: World) -> None:
    made = []
    for n in range(4):
        here.predict(DAY + dt.timedelta(days=n))
        made.append(here.publish(DAY + dt.timedelta(days=n), keep=2))
    assert ids(here) == [made[3].release_id, made[2].release_id]
    for table in (ITEMS, USERS, *here.store.ensure(TABLES).values()):
        assert rows_of(here, table, made[1].release_id) == 0
        assert rows_of(here, table, made[2].release_id) > 0


def test_the_current_release_and_the_one_before_are_kept_whatever_comes(here: World) -> None:
    made = [here.release(DAY + dt.timedelta(days=n)).release_id for n in range(3)]
    rollback(here.store)
    here.predict(DAY + dt.timedelta(days=5))
    last = here.publish(DAY + dt.timedelta(days=5), keep=2).release_id
    # Served: the last; before it: the second, as the third was rolled back.
    assert ids(here) == [last, made[2], made[1]]


def test_removing_in_chunks(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_predictions.serving.release.pruning.CHUNK_ROWS", 2)
    made = []
    for n in range(3):
        here.predict(DAY + dt.timedelta(days=n))
        made.append(here.publish(DAY + dt.timedelta(days=n), keep=2).release_id)
    assert ids(here) == made[:0:-1]
    assert rows_of(here, here.store.ensure(TABLES)["recommendations"], made[0]) == 0


def test_counts_that_do_not_agree_leave_the_pointer(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = here.release(DAY)
    here.predict(NEXT)
    tuples = loading._tuples

    def losing_one(batch: Any, release_id: str) -> Any:
        return list(tuples(batch, release_id))[1:]

    monkeypatch.setattr(loading, "_tuples", losing_one)
    with pytest.raises(ReleaseError, match="recommendations has 11 rows in the store and 12 in"):
        here.publish(NEXT)
    assert served(here) == first.release_id
    assert ids(here) == [first.release_id]
    monkeypatch.undo()
    assert here.publish(NEXT).moved


def test_a_partition_rewritten_meanwhile_is_noticed(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.predict()
    load = loading.copy_users

    def rewriting(*args: Any) -> int:
        here.predict(tag="b")
        return load(*args)

    monkeypatch.setattr("batch_predictions.serving.release.publish.copy_users", rewriting)
    with pytest.raises(ReleaseError, match="written anew while"):
        here.publish()
    assert ids(here) == []


def test_left_overs_of_the_dead_are_swept_and_those_of_the_living_are_not(here: World) -> None:
    here.predict()
    release_id = read_release_contents(here.warehouse, DAY, TABLES).release_id
    template = {
        "as_of": DAY,
        "status": "building",
        "manifest": {"tables": {"recommendations": {"key": ["user_id", "rank"]}}},
        "content_hash": read_release_contents(here.warehouse, DAY, TABLES).content_hash,
    }
    here.store.ensure(TABLES)
    an_hour_ago = NOW.replace(tzinfo=None) - dt.timedelta(hours=1)
    elsewhere = "another-host-1-2-abcd"
    record = {**template, "release_id": release_id, "builder": elsewhere, "created_at": an_hour_ago}
    with here.store.write() as db:
        db.execute(RELEASES.insert().values(record))
        db.execute(ITEMS.insert().values(release_id=release_id, item_id="left over"))
    with pytest.raises(ReleaseError, match="is building at the hands of another-host-1-2-abcd"):
        here.publish()
    with here.store.write() as db:
        long_ago = an_hour_ago - dt.timedelta(days=1)
        db.execute(RELEASES.update().values(created_at=long_ago))
    assert here.publish().moved
    assert rows_of(here, ITEMS, release_id) == 6


def test_of_two_days_published_at_once_the_newer_is_served(here: World) -> None:
    days = [DAY + dt.timedelta(days=n) for n in range(4)]
    for day in days:
        here.predict(day)
    start = threading.Barrier(len(days))
    failures: list[BaseException] = []

    def one(day: dt.date) -> None:
        mine = world(here.settings.home, here.settings.serving.url)
        start.wait()
        try:
            publish(mine.store, mine.warehouse, day, TABLES, keep=9, now=NOW)
        except BaseException as error:
            failures.append(error)
        finally:
            mine.store.close()

    threads = [threading.Thread(target=one, args=(day,)) for day in days]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert (served(here) or "").startswith(days[-1].isoformat())
    assert all(release.status == "ready" for release in releases(here.store))
    assert len(ids(here)) == 4


def test_of_two_contents_of_one_day_the_slower_is_told(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.predict(tag="a")
    load = loading.copy_users
    faster: list[str] = []

    def overtaken(*args: Any) -> int:
        rows = load(*args)
        if not faster:
            faster.append("")
            other = world(here.settings.home.parent / "other", None)
            other.predict(tag="b")
            faster[0] = publish(
                here.store, other.warehouse, DAY, TABLES, keep=3, now=NOW
            ).release_id
            other.store.close()
        return rows

    monkeypatch.setattr("batch_predictions.serving.release.publish.copy_users", overtaken)
    with pytest.raises(ReleaseError, match="of the same day, was served while"):
        here.publish()
    assert served(here) == faster[0]


def test_a_lookup_sees_its_release_to_the_end_though_it_is_removed_meanwhile(here: World) -> None:
    first = here.release(DAY)
    with Lookup(here.settings) as up, up._store.snapshot() as (db, served_then):
        for n in range(1, 4):
            here.predict(DAY + dt.timedelta(days=n))
            here.publish(DAY + dt.timedelta(days=n), keep=2)
        assert first.release_id not in ids(here)
        assert served_then.release_id == first.release_id
        mine = sa.select(sa.func.count()).where(USERS.c.release_id == first.release_id)
        assert db.execute(mine).scalar_one() == 5
