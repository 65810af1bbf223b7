"""Publishing that fails, is overtaken or leaves something behind; releases that are removed."""

from __future__ import annotations

import datetime as dt
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from batch_predictions.serving.release.publish import publish
from batch_predictions.serving.release.release_pruning import register_publisher
from batch_predictions.serving.release.release_records import releases, rollback
from batch_predictions.serving.release.sign_ups import add_sign_ups
from batch_predictions.serving.store import copy_rows
from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.serving.store.release_contents import read_release_contents
from batch_predictions.serving.store.snapshot import ReadStore
from batch_predictions.serving.store.store import ITEMS, RELEASES, USERS, store_url
from batch_predictions.tables import ITEM_STATE
from batch_predictions_tests.worlds.at_once import call_at_once
from batch_predictions_tests.worlds.serving import (
    DAY,
    NOW,
    TABLES,
    ServingWorld,
    count_rows,
    current_release_id,
    list_release_ids,
    open_world,
)

NEXT = DAY + dt.timedelta(days=1)


def test_releases_beyond_the_number_to_keep_are_removed_with_their_rows(
    world: ServingWorld,
) -> None:
    published = []
    for n in range(4):
        world.predict(DAY + dt.timedelta(days=n))
        published.append(world.publish(DAY + dt.timedelta(days=n), keep=2))
    assert list_release_ids(world) == [published[3].release_id, published[2].release_id]
    for table in (ITEMS, USERS, *world.store.ensure(TABLES).values()):
        assert count_rows(world, table, published[1].release_id) == 0
        assert count_rows(world, table, published[2].release_id) > 0


def test_the_current_release_and_its_predecessor_are_always_kept(world: ServingWorld) -> None:
    published = [world.release(DAY + dt.timedelta(days=n)).release_id for n in range(3)]
    rollback(world.store)
    world.predict(DAY + dt.timedelta(days=5))
    last = world.publish(DAY + dt.timedelta(days=5), keep=2).release_id
    # The current one is the last; its predecessor is the second, since the third was rolled back.
    assert list_release_ids(world) == [last, published[2], published[1]]


def test_removing_in_chunks(world: ServingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_predictions.serving.release.release_pruning.CHUNK_ROWS", 2)
    published = []
    for n in range(3):
        world.predict(DAY + dt.timedelta(days=n))
        published.append(world.publish(DAY + dt.timedelta(days=n), keep=2).release_id)
    assert list_release_ids(world) == published[:0:-1]
    assert count_rows(world, world.store.ensure(TABLES)["recommendations"], published[0]) == 0


def test_different_row_counts_leave_the_pointer_unchanged(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.release(DAY)
    world.predict(NEXT)
    tuples = copy_rows._tuples

    def drop_first_row(batch: Any, release_id: str) -> Any:
        return list(tuples(batch, release_id))[1:]

    monkeypatch.setattr(copy_rows, "_tuples", drop_first_row)
    with pytest.raises(ReleaseError, match="recommendations has 11 rows in the store and 12 in"):
        world.publish(NEXT)
    assert current_release_id(world) == first.release_id
    assert list_release_ids(world) == [first.release_id]
    monkeypatch.undo()
    assert world.publish(NEXT).moved


def test_a_partition_that_changes_during_the_copy_is_an_error(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.predict()
    load = copy_rows.copy_users

    def rewrite_partition(*args: Any) -> int:
        world.predict(tag="b")
        return load(*args)

    monkeypatch.setattr("batch_predictions.serving.release.publish.copy_users", rewrite_partition)
    with pytest.raises(ReleaseError, match=r"recommendations, .* changed while"):
        world.publish()
    assert list_release_ids(world) == []


def test_zero_bytes_in_titles_are_removed(world: ServingWorld) -> None:
    world.predict()
    items = world.warehouse.query(
        "select * exclude (date) replace ('b' || chr(0) || 'c' as title) "
        "from features.item_state where date = $day",
        {"day": DAY},
    )
    world.warehouse.replace_partition(ITEM_STATE, DAY.isoformat(), items)
    release = world.publish()
    with world.store.read() as db:
        title = sa.select(ITEMS.c.title).where(
            ITEMS.c.release_id == release.release_id, ITEMS.c.item_id == "a1"
        )
        assert db.execute(title).scalar() == "bc"


def test_a_sign_up_with_an_invalid_id_is_refused(world: ServingWorld) -> None:
    world.release(DAY)
    for user_id, message in (("a\0b", "control character"), ("é" * 257, "512 bytes")):
        with pytest.raises(ValueError, match=message):
            add_sign_ups(world.store, [{"user_id": user_id}])
    assert add_sign_ups(world.store, [{"user_id": "é" * 256}]) == 1


def test_incomplete_releases_of_dead_processes_are_removed_and_of_running_ones_are_not(
    world: ServingWorld,
) -> None:
    world.predict()
    release_id = read_release_contents(world.warehouse, DAY, TABLES).release_id
    template = {
        "as_of": DAY,
        "status": "building",
        "manifest": {"tables": {"recommendations": {"key": ["user_id", "rank"]}}},
        "content_hash": read_release_contents(world.warehouse, DAY, TABLES).content_hash,
    }
    world.store.ensure(TABLES)
    with register_publisher(world.store) as builder:
        record = {
            **template,
            "release_id": release_id,
            "builder": builder,
            # However long it takes, a publisher that runs is not taken for dead.
            "created_at": NOW.replace(tzinfo=None) - dt.timedelta(days=9),
        }
        with world.store.write() as db:
            db.execute(RELEASES.insert().values(record))
            db.execute(ITEMS.insert().values(release_id=release_id, item_id="orphan"))
        with pytest.raises(ReleaseError, match=f"is building by {builder}"):
            world.publish()
    assert world.publish().moved
    assert count_rows(world, ITEMS, release_id) == 6


def test_of_days_that_are_published_concurrently_the_newest_is_served(world: ServingWorld) -> None:
    days = [DAY + dt.timedelta(days=n) for n in range(4)]
    for day in days:
        world.predict(day)

    def publish_day(day: dt.date) -> None:
        own_world = open_world(world.settings.home, world.settings.serving.url)
        with closing(own_world.store):
            publish(own_world.store, own_world.warehouse, day, TABLES, keep=9, now=NOW)

    call_at_once(publish_day, days)
    assert (current_release_id(world) or "").startswith(days[-1].isoformat())
    assert all(release.status == "ready" for release in releases(world.store))
    assert len(list_release_ids(world)) == 4


def test_of_two_contents_of_one_day_the_slower_publish_fails(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.predict(tag="a")
    load = copy_rows.copy_users
    release_ids: list[str] = []

    def publish_other_rows(*args: Any) -> int:
        rows = load(*args)
        if not release_ids:
            release_ids.append("")
            other_world = open_world(world.settings.home.parent / "other", None)
            other_world.predict(tag="b")
            release_ids[0] = publish(
                world.store, other_world.warehouse, DAY, TABLES, keep=3, now=NOW
            ).release_id
            other_world.store.close()
        return rows

    monkeypatch.setattr("batch_predictions.serving.release.publish.copy_users", publish_other_rows)
    with pytest.raises(ReleaseError, match="of the same day, was served while"):
        world.publish()
    assert current_release_id(world) == release_ids[0]


def test_a_snapshot_keeps_its_release_while_it_is_removed(world: ServingWorld) -> None:
    first = world.release(DAY)
    store = ReadStore(store_url(world.settings))
    with store, store.snapshot() as (db, snapshot_release):
        for n in range(1, 4):
            world.predict(DAY + dt.timedelta(days=n))
            world.publish(DAY + dt.timedelta(days=n), keep=2)
        assert first.release_id not in list_release_ids(world)
        assert snapshot_release.release_id == first.release_id
        users = sa.select(sa.func.count()).where(USERS.c.release_id == first.release_id)
        assert db.execute(users).scalar_one() == 5
