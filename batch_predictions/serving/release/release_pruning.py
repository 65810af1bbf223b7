"""Removes releases: incomplete ones of killed processes, and ready ones beyond the number to keep.

Rows are deleted in chunks, so that no transaction locks the store for long. A release is first
marked `removing`, so that the pointer cannot move to it; if the process is killed, the next publish
completes the removal.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from batch_predictions.serving.release.publisher_liveness import is_dead
from batch_predictions.serving.store.pointer import Release, all_releases, predecessor, read_pointer
from batch_predictions.serving.store.store import ITEMS, RELEASES, USERS, Store

CHUNK_ROWS = 50_000


def remove_incomplete(store: Store, builder: str) -> list[str]:
    """Removes releases whose build or removal was killed. Returns their ids."""
    with store.write() as db:
        incomplete = [
            release
            for release in all_releases(db)
            if release.status != "ready" and is_dead(store, db, release.builder)
        ]
        claimed = [release for release in incomplete if _claim(db, release, builder)]
    for release in claimed:
        _remove(store, release, builder)
    return [release.release_id for release in claimed]


def prune(store: Store, builder: str, keep: int, protected: Collection[str] = ()) -> list[str]:
    """Removes ready releases beyond the newest `keep`. Returns their ids.

    The current release, the target of a roll-back and the protected ones are never removed.
    """
    with store.write() as db:
        # The lock prevents that the pointer moves to a release that is selected here.
        read_pointer(db, lock=True)
        releases = all_releases(db)
        previous = predecessor(releases)
        kept_ids = {*protected, *([previous.release_id] if previous else [])}
        ready = [release for release in releases if release.status == "ready"]
        claimed = [
            release
            for release in ready[keep:]
            if not release.current
            and release.release_id not in kept_ids
            and _claim(db, release, builder)
        ]
    for release in claimed:
        _remove(store, release, builder)
    return [release.release_id for release in claimed]


def abandon(store: Store, release_id: str, builder: str) -> None:
    """Removes a release whose build by this process has failed."""
    with store.write() as db:
        unfinished = [
            release
            for release in all_releases(db)
            if release.release_id == release_id and release.builder == builder
        ]
        claimed = [release for release in unfinished if _claim(db, release, builder)]
    for release in claimed:
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
