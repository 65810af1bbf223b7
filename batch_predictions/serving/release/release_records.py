"""The records of releases in a store, and the roll-back to one of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

import sqlalchemy as sa

from batch_predictions.serving.release.sign_ups import carry_forward
from batch_predictions.serving.store.pointer import (
    NoReleaseError,
    Release,
    ReleaseError,
    all_releases,
    find_release,
    move_pointer,
    predecessor,
    read_pointer,
)
from batch_predictions.serving.store.store import RELEASES, Store


def releases(store: Store) -> list[Release]:
    """Every release in the store, newest day first."""
    with store.read() as db:
        return all_releases(db)


def read_release(store: Store, release_id: str, note: str, moved: bool) -> Release:
    """Reads a release and adds a note and whether the call moved the pointer.

    Args:
        store: the store.
        release_id: the release.
        note: what the caller did, in words.
        moved: whether the caller moved the pointer.

    Raises:
        ReleaseError: the store has it no longer.
    """
    release = find_release(releases(store), release_id)
    if release is None:
        raise ReleaseError(f"release {release_id} was removed meanwhile: choose another")
    return dataclasses.replace(release, note=note, moved=moved)


def rollback(store: Store, to: str | None = None) -> Release:
    """Moves the pointer to the previous ready release, or to a named one.

    Newer releases are marked as withdrawn: publishing the same rows of their days again does not
    serve them, a roll-back to one by name does. Sign-ups since then are kept.

    Raises:
        NoReleaseError: there is no current release.
        ReleaseError: there is no such release; the message lists the ready ones.
    """
    with store.write() as db:
        pointer = read_pointer(db, lock=True)
        if pointer is None:
            raise NoReleaseError(store.name)
        stored = all_releases(db)
        target = find_release(stored, to) if to else predecessor(stored)
        if target is None or target.status != "ready":
            ready = [release.release_id for release in stored if release.status == "ready"]
            name = f"release {to}" if to else f"release before {pointer.release_id}"
            raise ReleaseError(f"there is no {name} to roll back to (ready releases: {ready})")
        moved = target.release_id != pointer.release_id and move_pointer(db, pointer, target)
        if moved:
            carry_forward(db, pointer.release_id, target.release_id)
        _mark_withdrawn(db, target, newer=stored[: stored.index(target)])
    note = f"{target.release_id} is served now, instead of {pointer.release_id}"
    return read_release(
        store, target.release_id, note if moved else "it was the current release already", moved
    )


def _mark_withdrawn(db: sa.Connection, target: Release, newer: Sequence[Release]) -> None:
    """Marks ready releases newer than a roll-back's target, and unmarks the target."""
    # Releases that are being built are not marked: the next day's is served as usual.
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
    marks: dict[str, dt.datetime | None] = {target.release_id: None}
    for release in newer:
        if release.status == "ready" and not release.withdrawn_at:
            marks[release.release_id] = now
    for release_id, mark in marks.items():
        is_release = RELEASES.c.release_id == release_id
        db.execute(RELEASES.update().where(is_release).values(withdrawn_at=mark))
