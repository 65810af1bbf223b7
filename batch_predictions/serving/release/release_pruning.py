"""Removes releases: incomplete ones of killed processes, and ready ones beyond the number to keep.

Rows are deleted in chunks, so that no transaction locks the store for long. A release is first
marked `removing`, so that the pointer cannot move to it; if the process is killed, the next publish
completes the removal.

A publisher, a process that builds a release, holds a lock as long as it builds: an advisory lock of
the PostgreSQL server, or that of a record (`process_records`) beside the SQLite store. The server
or the operating system releases it when the process dies, on whatever host and with whatever
number; a build without the lock is dead.
"""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from batch_predictions.core import process_records
from batch_predictions.core.database import connect
from batch_predictions.serving.store.pointer import (
    Release,
    all_releases,
    find_release,
    predecessor,
    read_pointer,
)
from batch_predictions.serving.store.store import ITEMS, RELEASES, USERS, Store

_ACTIVE: set[str] = set()
"""Builds of this process: they go on if the server ends the session of their lock."""


@contextmanager
def register_publisher(store: Store) -> Iterator[str]:
    """A unique name for a build by this process (host, process number, random part), locked.

    Args:
        store: the store that is written to.
    """
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    with _server_lock(store, name) if store.file is None else _record(store.file, name):
        _ACTIVE.add(name)
        try:
            yield name
        finally:
            _ACTIVE.discard(name)


def is_dead(store: Store, db: sa.Connection, builder: str) -> bool:
    """Returns whether the process that builds a release no longer runs.

    Args:
        store: the store that it writes to.
        db: a connection to the store.
        builder: its name.
    """
    if builder in _ACTIVE:
        return False
    if store.file is None:
        key = {"key": _lock_key(builder)}
        is_free = bool(db.execute(sa.text("select pg_try_advisory_lock(:key)"), key).scalar_one())
        if is_free:
            db.execute(sa.text("select pg_advisory_unlock(:key)"), key)
        return is_free
    process_records.forget_dead(_records(store.file))
    return not process_records.is_registered(_records(store.file), builder)


@contextmanager
def _server_lock(store: Store, name: str) -> Iterator[None]:
    """Holds an advisory lock in a session of its own."""
    with connect(store.engine).execution_options(isolation_level="AUTOCOMMIT") as db:
        db.execute(sa.text("select pg_advisory_lock(:key)"), {"key": _lock_key(name)})
        try:
            yield
        finally:
            # The server has released the lock already if the session was lost.
            with suppress(sa.exc.DBAPIError):
                db.execute(sa.text("select pg_advisory_unlock(:key)"), {"key": _lock_key(name)})


@contextmanager
def _record(store_file: Path, name: str) -> Iterator[None]:
    """Holds a record of this process beside the store during the block."""
    process_records.register(_records(store_file), name, "publish a release")
    try:
        yield
    finally:
        process_records.unregister(_records(store_file), name)


def _lock_key(builder: str) -> int:
    """A number of 63 bits for a builder."""
    return int.from_bytes(hashlib.sha256(builder.encode()).digest()[:8], "big") >> 1


def _records(store_file: Path) -> Path:
    return store_file.with_name(f"{store_file.name}.builders")


CHUNK_ROWS = 50_000


def remove_incomplete(store: Store, builder: str) -> None:
    """Removes releases whose build or removal was killed."""
    with store.write() as db:
        incomplete = [
            release
            for release in all_releases(db)
            if release.status != "ready" and is_dead(store, db, release.builder)
        ]
        claimed = [release for release in incomplete if _claim(db, release, builder)]
    for release in claimed:
        _remove(store, release, builder)


def prune(store: Store, builder: str, keep: int, protected: str) -> None:
    """Removes ready releases beyond the newest `keep`.

    The current release, the target of a roll-back and the protected one are never removed.
    """
    with store.write() as db:
        # The lock prevents that the pointer moves to a release that is selected here.
        read_pointer(db, lock=True)
        releases = all_releases(db)
        kept = [predecessor(releases), find_release(releases, protected)]
        ready = [release for release in releases if release.status == "ready"]
        surplus = [r for r in ready[keep:] if not r.current and r not in kept]
        claimed = [release for release in surplus if _claim(db, release, builder)]
    for release in claimed:
        _remove(store, release, builder)


def abandon(store: Store, release_id: str, builder: str) -> None:
    """Removes a release whose build by this process has failed."""
    with store.write() as db:
        release = find_release(all_releases(db), release_id)
        is_claimed = release and release.builder == builder and _claim(db, release, builder)
    if release and is_claimed:
        _remove(store, release, builder)


def _claim(db: sa.Connection, release: Release, builder: str) -> bool:
    """Marks a release as `removing`, unless it has changed since it was read."""
    update = (
        RELEASES.update()
        .where(
            RELEASES.c.release_id == release.release_id,
            RELEASES.c.status == release.status,
            RELEASES.c.builder == release.builder,
        )
        .values(status="removing", builder=builder)
    )
    return db.execute(update).rowcount == 1


def _remove(store: Store, release: Release, builder: str) -> None:
    """Deletes the rows of a release marked `removing`, then the release."""
    first_columns = {name: entry["key"][0] for name, entry in release.manifest["tables"].items()}
    first_columns |= {ITEMS.name: "item_id", USERS.name: "user_id"}
    claimed = sa.and_(
        RELEASES.c.release_id == release.release_id,
        RELEASES.c.status == "removing",
        RELEASES.c.builder == builder,
    )
    for name, column in first_columns.items():
        table = sa.table(name, sa.column("release_id"), sa.column(column))
        first, of_release = table.c[column], table.c.release_id == release.release_id
        last = sa.select(first).where(of_release).order_by(first).offset(CHUNK_ROWS).limit(1)
        more = True
        while more:
            with store.write() as db:
                # Another process may have taken over and build a release of the same id by now.
                if (
                    db.execute(
                        sa.select(RELEASES.c.status).where(claimed).with_for_update()
                    ).one_or_none()
                    is None
                ):
                    return
                bound = db.execute(last).scalar()
                more = bound is not None
                chunk = sa.and_(of_release, first <= bound) if more else of_release
                db.execute(sa.delete(table).where(chunk))
    with store.write() as db:
        db.execute(RELEASES.delete().where(claimed))
