"""Removing releases: left-overs of killed publishes, and those beyond the number kept.

Rows go in chunks, so that no transaction holds the store for long. A release is marked `removing`
first, by whoever removes it: nobody points at it any more, and a remover that is killed is
followed by the next.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

import sqlalchemy as sa

from batch_predictions.serving.release.pointer import (
    Release,
    all_releases,
    predecessor,
    read_pointer,
)
from batch_predictions.serving.release.publisher_liveness import is_dead
from batch_predictions.serving.store.schema import ITEMS, RELEASES, USERS, Store

CHUNK_ROWS = 50_000


def sweep(store: Store, builder: str, now: dt.datetime) -> list[str]:
    """Removes what killed publishes and removals left; the ids of those releases."""
    with store.write() as db:
        left = [
            release
            for release in all_releases(db)
            if release.status != "ready" and is_dead(release.builder, release.created_at, now)
        ]
        claimed = [release for release in left if _claim(db, release, builder)]
    for release in claimed:
        _remove(store, release, builder)
    return [release.release_id for release in claimed]


def prune(store: Store, builder: str, keep: int, spare: Collection[str] = ()) -> list[str]:
    """Removes ready releases beyond the newest `keep`; the ids of those removed.

    The current release, the one that a roll-back goes to, and those to spare are never removed.
    """
    with store.write() as db:
        # Locked: nobody points at a release while it is chosen here.
        read_pointer(db, lock=True)
        releases = all_releases(db)
        before = predecessor(releases)
        kept = {*spare, *([before.release_id] if before else [])}
        ready = [release for release in releases if release.status == "ready"]
        beyond = [one for one in ready[keep:] if not one.current and one.release_id not in kept]
        claimed = [release for release in beyond if _claim(db, release, builder)]
    for release in claimed:
        _remove(store, release, builder)
    return [release.release_id for release in claimed]


def abandon(store: Store, release_id: str, builder: str) -> None:
    """Removes a release that its builder could not finish."""
    with store.write() as db:
        mine = [
            release
            for release in all_releases(db)
            if release.release_id == release_id and release.builder == builder
        ]
        claimed = [release for release in mine if _claim(db, release, builder)]
    for release in claimed:
        _remove(store, release, builder)


def _claim(db: sa.Connection, release: Release, builder: str) -> bool:
    """Marks a release as being removed by this builder, if it still is what was seen."""
    marked = (
        RELEASES.update()
        .where(
            RELEASES.c.release_id == release.release_id,
            RELEASES.c.status == release.status,
            RELEASES.c.builder == release.builder,
        )
        .values(status="removing", builder=builder)
    )
    return db.execute(marked).rowcount == 1


def _remove(store: Store, release: Release, builder: str) -> None:
    """Deletes the rows of a release that is marked, then the release."""
    first_columns = {name: entry["key"][0] for name, entry in release.manifest["tables"].items()}
    first_columns |= {ITEMS.name: "item_id", USERS.name: "user_id"}
    mine = sa.and_(
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
                # Whoever took over may be building a release of the same name by now.
                if (
                    db.execute(
                        sa.select(RELEASES.c.status).where(mine).with_for_update()
                    ).one_or_none()
                    is None
                ):
                    return
                bound = db.execute(last).scalar()
                more = bound is not None
                chunk = sa.and_(of_release, first <= bound) if more else of_release
                db.execute(sa.delete(table).where(chunk))
    with store.write() as db:
        db.execute(RELEASES.delete().where(mine))
