"""Releases as the store knows them, and the one row that says which is served.

The pointer moves by compare-and-set on its version, so that of two movers who saw the same row
only one succeeds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from batch_predictions.serving.store.database import insert_into
from batch_predictions.serving.store.schema import CURRENT, RELEASES


class ReleaseError(RuntimeError):
    """A release could not be made or served; what was served before still is."""


class NoReleaseError(ReleaseError):
    """The store serves no release yet."""

    def __init__(self, store: str) -> None:
        super().__init__(
            f"nothing has been released to {store} yet: run `batch-predictions run` first"
        )


@dataclass(frozen=True)
class Release:
    """A release: one day's predictions of every published table.

    `note` says in words what the call that returned it did; `moved` whether it moved the pointer.
    """

    release_id: str
    as_of: dt.date
    created_at: dt.datetime
    status: str
    content_hash: str
    manifest: dict[str, Any] = field(repr=False)
    builder: str = field(repr=False)
    withdrawn_at: dt.datetime | None
    current: bool
    note: str = ""
    moved: bool = False

    @property
    def rows(self) -> dict[str, int]:
        """Rows of each published table."""
        return {name: entry["rows"] for name, entry in self.manifest["tables"].items()}


@dataclass(frozen=True)
class Pointer:
    """The pointer row: which release is served, and how often that has changed."""

    release_id: str
    as_of: dt.date
    version: int


def read_pointer(db: sa.Connection, *, lock: bool = False) -> Pointer | None:
    """The pointer; None before the first release. `lock` keeps it until the transaction ends."""
    query = sa.select(CURRENT.c.release_id, CURRENT.c.as_of, CURRENT.c.version)
    # SQLite has one writer at a time, and its dialect leaves the lock out.
    row = db.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else Pointer(row.release_id, row.as_of, row.version)


def all_releases(db: sa.Connection) -> list[Release]:
    """Every release in the store, the newest day first."""
    pointer = read_pointer(db)
    served = pointer.release_id if pointer else None
    newest_first = RELEASES.select().order_by(
        RELEASES.c.as_of.desc(), RELEASES.c.created_at.desc(), RELEASES.c.release_id.desc()
    )
    return [
        Release(
            release_id=row.release_id,
            as_of=row.as_of,
            created_at=row.created_at,
            status=row.status,
            content_hash=row.content_hash,
            manifest=row.manifest,
            builder=row.builder,
            withdrawn_at=row.withdrawn_at,
            current=row.release_id == served,
        )
        for row in db.execute(newest_first)
    ]


def find(releases: Sequence[Release], release_id: str) -> Release | None:
    """The release of that id; None where there is none."""
    return next((each for each in releases if each.release_id == release_id), None)


def predecessor(releases: Sequence[Release]) -> Release | None:
    """What a roll-back goes to: the newest ready release before the current one."""
    at = next((n for n, release in enumerate(releases) if release.current), None)
    if at is None:
        return None
    before = releases[at + 1 :]
    return next((one for one in before if one.status == "ready" and not one.withdrawn_at), None)


def move(db: sa.Connection, seen: Pointer | None, to: Release) -> bool:
    """Points at a release if the pointer still is what was seen; whether it did."""
    if seen is None:
        first = insert_into(db, CURRENT).values(
            id=1, release_id=to.release_id, as_of=to.as_of, version=1
        )
        written = first.on_conflict_do_nothing().returning(CURRENT.c.version)
        return db.execute(written).one_or_none() is not None
    moved = (
        CURRENT.update()
        .where(CURRENT.c.id == 1, CURRENT.c.version == seen.version)
        .values(release_id=to.release_id, as_of=to.as_of, version=seen.version + 1)
    )
    return db.execute(moved).rowcount == 1
