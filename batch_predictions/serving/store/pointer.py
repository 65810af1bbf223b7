"""The releases in the store, and the pointer: the one row that names the current release.

The pointer moves by compare-and-set on its version: of two writers that have read the same row, one
succeeds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from batch_predictions.core.database import insert_into
from batch_predictions.serving.store.store import CURRENT, RELEASES


class ReleaseError(RuntimeError):
    """A release could not be built or served; the current release has not changed."""


class NoReleaseError(ReleaseError):
    """The store has no current release yet.

    Args:
        store: its name, for people.
        command: what fills it.
    """

    def __init__(self, store: str, command: str = "batch-predictions run") -> None:
        super().__init__(f"nothing has been released to {store} yet: run `{command}` first")


class ReleaseRemovedError(ReleaseError):
    """The store has no such release, or has it no longer."""


@dataclass(frozen=True)
class Release:
    """A release: one day's predictions of every published table.

    Attributes:
        release_id: its day and the first digits of its hash.
        as_of: the day.
        created_at: UTC.
        status: building, ready or removing.
        content_hash: SHA-256 over its partitions.
        manifest: its tables with partitions, rows, files, columns and keys.
        builder: the process that builds or removes it.
        withdrawn_at: when a roll-back withdrew it, UTC; None: never.
        current: whether the pointer names it.
        note: what the call that returned it did, in words.
        moved: whether that call moved the pointer.
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

    @property
    def earlier_days(self) -> dict[str, str]:
        """Tables whose rows are of an earlier day, since that of the release was not made."""
        tables = self.manifest["tables"].items()
        return {name: entry["as_of"] for name, entry in tables if "as_of" in entry}


@dataclass(frozen=True)
class Pointer:
    """The pointer row: the current release, and the number of moves so far."""

    release_id: str
    as_of: dt.date
    version: int


def read_pointer(db: sa.Connection, *, lock: bool = False) -> Pointer | None:
    """The pointer; None before the first release. `lock` locks it until the transaction ends."""
    query = sa.select(CURRENT.c.release_id, CURRENT.c.as_of, CURRENT.c.version)
    # SQLite has one writer at a time; its dialect omits the lock.
    row = db.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else Pointer(row.release_id, row.as_of, row.version)


def all_releases(db: sa.Connection) -> list[Release]:
    """Every release in the store, newest day first."""
    pointer = read_pointer(db)
    current = pointer.release_id if pointer else None
    newest_first = RELEASES.select().order_by(
        RELEASES.c.as_of.desc(), RELEASES.c.created_at.desc(), RELEASES.c.release_id.desc()
    )
    return [
        Release(**row, current=row["release_id"] == current)
        for row in db.execute(newest_first).mappings()
    ]


def find_release(releases: Sequence[Release], release_id: str) -> Release | None:
    """The release with an id; None if there is none."""
    return next((release for release in releases if release.release_id == release_id), None)


def predecessor(releases: Sequence[Release]) -> Release | None:
    """The target of a roll-back: the newest ready release before the current one."""
    index = next((n for n, release in enumerate(releases) if release.current), None)
    if index is None:
        return None
    for release in releases[index + 1 :]:
        if release.status == "ready" and not release.withdrawn_at:
            return release
    return None


def move_pointer(db: sa.Connection, expected: Pointer | None, to: Release) -> bool:
    """Points to a release if the pointer still has the expected value. Returns whether it moved."""
    if expected is None:
        first = insert_into(db, CURRENT).values(
            id=1, release_id=to.release_id, as_of=to.as_of, version=1
        )
        insert = first.on_conflict_do_nothing().returning(CURRENT.c.version)
        return db.execute(insert).one_or_none() is not None
    update = (
        CURRENT.update()
        .where(CURRENT.c.id == 1, CURRENT.c.version == expected.version)
        .values(release_id=to.release_id, as_of=to.as_of, version=expected.version + 1)
    )
    return db.execute(update).rowcount == 1
