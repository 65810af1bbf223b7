"""Releases: a day's predictions of every table, copied into the store and served all at once.

A release is written beside the one that is served, counted, and then pointed at. Readers see the
whole old release or the whole new one, whatever is killed and whenever.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from batch_predictions.serving.release.pointer import (
    NoReleaseError,
    Pointer,
    Release,
    ReleaseError,
    all_releases,
    find,
    move,
    predecessor,
    read_pointer,
)
from batch_predictions.serving.release.pruning import abandon, prune, sweep
from batch_predictions.serving.release.publisher_liveness import register_publisher
from batch_predictions.serving.release.release_contents import (
    ReleaseContents,
    ReleasePartition,
    read_release_contents,
)
from batch_predictions.serving.sign_ups import add_sign_ups, carry_forward
from batch_predictions.serving.store.copy_rows import (
    assert_ownership,
    copy_items,
    copy_table,
    copy_users,
)
from batch_predictions.serving.store.schema import ITEMS, RELEASES, USERS, Store, columns_of, key_of
from batch_predictions.tables import DEMOGRAPHIC_RECOMMENDATIONS, Table
from batch_predictions.warehouse import Warehouse

__all__ = ["Release", "ReleaseError", "add_sign_ups", "publish", "releases", "rollback"]


def publish(
    store: Store,
    warehouse: Warehouse,
    as_of: dt.date,
    tables: Sequence[Table],
    *,
    keep: int,
    now: dt.datetime,
    optional: Collection[str] = (),
) -> Release:
    """Releases a day: copies its predictions into the store, checks them, moves the pointer.

    The same rows give the same release, and publishing them again changes nothing. A day older
    than the one served becomes a release that a roll-back can name, and is not served; so does
    one that was rolled back, if its rows have not changed.

    Args:
        store: where to.
        warehouse: where from.
        as_of: the day.
        tables: what to publish; of a weekly table, the newest week that had ended by the day.
        keep: releases to keep; the current one and the one before it always are.
        now: the moment, for the release's record and to tell what was left behind.
        optional: names of tables that are left out where they lack the partition.

    Returns:
        The release; `note` says what was done, `moved` whether it is served from now on.

    Raises:
        ReleaseError: a partition is missing, the copy does not agree with it, or somebody else is
            building this release or was faster with the same day. What was served still is.
    """
    now = now.astimezone(dt.UTC).replace(tzinfo=None) if now.tzinfo else now
    contents = read_release_contents(warehouse, as_of, tables, optional)
    with register_publisher() as builder:
        sweep(store, builder, now)
        stored = store.ensure([partition.table for partition in contents.published])
        seen, release = _begin(store, warehouse, contents, builder, now)
        if release.status != "ready":
            try:
                _build(store, warehouse, contents, stored, builder)
            except BaseException:
                abandon(store, release.release_id, builder)
                raise
        moved, note = _serve(store, release.release_id, seen)
        prune(store, builder, keep, spare=[release.release_id])
    return _found(store, release.release_id, note, moved)


def rollback(store: Store, to: str | None = None) -> Release:
    """Points at the previous ready release, or at the one named, and says so.

    The newer ones are marked: publishing the same rows of their days again does not serve them,
    rolling back to one by name does. Sign-ups since then are kept.

    Raises:
        NoReleaseError: nothing is served yet.
        ReleaseError: there is no such release; the message names those there are.
    """
    with store.write() as db:
        seen = read_pointer(db, lock=True)
        if seen is None:
            raise NoReleaseError(store.name)
        known = all_releases(db)
        target = find(known, to) if to else predecessor(known)
        ready = [release.release_id for release in known if release.status == "ready"]
        if target is None or target.status != "ready":
            wanted = f"a release {to}" if to else f"a release before {seen.release_id}"
            raise ReleaseError(f"there is not {wanted} to roll back to; there are {ready}")
        moved = target.release_id != seen.release_id and move(db, seen, target)
        if moved:
            carry_forward(db, seen.release_id, target.release_id)
        # Not those that are being built: the next day's release is served as ever.
        newest = [one for one in known[: known.index(target)] if one.status == "ready"]
        newer = [one.release_id for one in newest if not one.withdrawn_at]
        withdrawn_at = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
        marks = {target.release_id: None, **dict.fromkeys(newer, withdrawn_at)}
        for release_id, mark in marks.items():
            this = RELEASES.c.release_id == release_id
            db.execute(RELEASES.update().where(this).values(withdrawn_at=mark))
    note = f"{target.release_id} is served now; before, {seen.release_id} was"
    return _found(store, target.release_id, note if moved else "it was served already", moved)


def releases(store: Store) -> list[Release]:
    """Every release in the store, the newest day first; `current` marks the one served."""
    with store.read() as db:
        return all_releases(db)


def _begin(
    store: Store, warehouse: Warehouse, contents: ReleaseContents, builder: str, now: dt.datetime
) -> tuple[Pointer | None, Release]:
    """The pointer as it is, and the day's release: the one there, or a new one to be built."""
    manifest = _manifest(warehouse, contents)
    with store.write() as db:
        seen = read_pointer(db)
        release = find(all_releases(db), contents.release_id)
        if release is None:
            record = {
                "release_id": contents.release_id,
                "as_of": contents.as_of,
                "created_at": now,
                "status": "building",
                "manifest": manifest,
                "content_hash": contents.content_hash,
                "builder": builder,
            }
            db.execute(RELEASES.insert().values(record))
            release = find(all_releases(db), contents.release_id)
            assert release is not None
        elif release.content_hash != contents.content_hash:
            raise ReleaseError(f"release {release.release_id} is there with another content hash")
        elif release.status != "ready":
            raise ReleaseError(
                f"release {release.release_id} is {release.status} at the hands of "
                f"{release.builder} (host-process-start-work): wait for it, then publish again"
            )
    return seen, release


def _manifest(warehouse: Warehouse, contents: ReleaseContents) -> dict[str, Any]:
    """What the release consists of, for those who count, read or remove it."""

    def described(one: ReleasePartition) -> dict[str, Any]:
        files = {str(file.relative_to(warehouse.folder)): sha for file, sha in one.files.items()}
        return {"partition": one.key, "rows": one.rows, "files": files}

    tables: dict[str, Any] = {}
    for one in contents.published:
        tables[one.table.name] = {
            **described(one),
            "model_versions": _model_versions(warehouse, one),
            "columns": columns_of(one.table),
            "key": list(key_of(one.table)),
        }
    features = (one for one in (contents.users, contents.items) if one)
    return {
        "tables": tables,
        "features": {one.table.qualified: described(one) for one in features},
    }


def _model_versions(warehouse: Warehouse, one: ReleasePartition) -> list[str]:
    if "model_version" not in columns_of(one.table):
        return []
    query = (
        f"select distinct model_version from {one.table.qualified} "
        f'where "{one.table.partition}" = $day::DATE and model_version is not null order by 1'
    )
    versions: list[str] = warehouse.query(query, {"day": one.key}).column(0).to_pylist()
    return versions


def _build(
    store: Store,
    warehouse: Warehouse,
    contents: ReleaseContents,
    stored: dict[str, sa.Table],
    builder: str,
) -> None:
    """Copies and counts the rows, then declares the release ready."""
    release_id = contents.release_id
    expected: dict[sa.Table, int] = {}
    for one in contents.published:
        table = stored[one.table.name]
        copy_table(store, warehouse, one, table, release_id, builder)
        expected[table] = one.rows
    expected[ITEMS] = copy_items(store, warehouse, contents, release_id, builder)
    if contents.users:
        copy_users(store, warehouse, contents.users.key, release_id, builder)
        expected[USERS] = contents.users.rows
    rewritten = [one.table.qualified for one in contents.partitions if not one.unchanged()]
    if rewritten:
        raise ReleaseError(
            f"{', '.join(rewritten)} was written anew while {release_id} was built: publish again"
        )
    with store.read() as db:
        for table, rows in expected.items():
            count = sa.select(sa.func.count()).where(table.c.release_id == release_id)
            copied = db.execute(count.select_from(table)).scalar_one()
            if copied != rows:
                raise ReleaseError(
                    f"release {release_id}: {table.name} has {copied} rows in the store and {rows} "
                    "in the warehouse; it is not served"
                )
        _require_fallback(db, stored, release_id)
    with store.write() as db:
        assert_ownership(db, release_id, builder)
        this = RELEASES.c.release_id == release_id
        db.execute(RELEASES.update().where(this).values(status="ready"))


def _require_fallback(db: sa.Connection, stored: dict[str, sa.Table], release_id: str) -> None:
    """Refuses a release whose lookups could answer with nothing."""
    fallback = stored.get(DEMOGRAPHIC_RECOMMENDATIONS.name)
    if fallback is None:
        return
    everyone = sa.select(fallback.c.rank).where(
        fallback.c.release_id == release_id, fallback.c.segment_level == "everyone"
    )
    if db.execute(everyone.limit(1)).first() is None:
        raise ReleaseError(
            f"release {release_id}: {fallback.name} has no rows of the level everyone, so that "
            "unknown users would be offered nothing; it is not served"
        )


def _serve(store: Store, release_id: str, seen: Pointer | None) -> tuple[bool, str]:
    """Points at a release unless a newer day is served; whether it did, and what to say."""
    while True:
        with store.write() as db:
            # Locked before the release is read: it is not removed between here and the move.
            pointer = read_pointer(db, lock=True)
            release = find(all_releases(db), release_id)
            if release is None or release.status != "ready":
                raise ReleaseError(f"release {release_id} was removed meanwhile: publish again")
            if release.current:
                return False, f"unchanged: {release_id} is served already"
            if seen and seen.as_of > release.as_of:
                return False, f"{release_id} is kept; the newer {seen.release_id} is served"
            if release.withdrawn_at:
                return False, (
                    f"{release_id} was rolled back and its rows have not changed: it is not "
                    f"served; `batch-predictions releases rollback {release_id}` would serve it"
                )
            if move(db, seen, release):
                if seen:
                    carry_forward(db, seen.release_id, release_id)
                return True, f"{release_id} is served now"
        # Somebody was faster. Another content of this very day may be the newer one: no guessing.
        if pointer and pointer.as_of == release.as_of:
            raise ReleaseError(
                f"{pointer.release_id}, of the same day, was served while {release_id} was built: "
                "publish again if the rows now in the warehouse are to be served"
            )
        seen = pointer


def _found(store: Store, release_id: str, note: str, moved: bool) -> Release:
    release = find(releases(store), release_id)
    if release is None:
        raise ReleaseError(f"release {release_id} was removed meanwhile")
    return dataclasses.replace(release, note=note, moved=moved)
