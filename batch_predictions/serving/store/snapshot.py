"""Snapshots for readers: a transaction that sees one complete release."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa

from batch_predictions.serving.release.pointer import NoReleaseError
from batch_predictions.serving.store.database import open_engine, sqlite_file
from batch_predictions.serving.store.schema import CURRENT, RELEASES

_POINTER = sa.select(CURRENT.c.release_id, CURRENT.c.as_of)
_MANIFEST = sa.select(RELEASES.c.manifest).where(
    RELEASES.c.release_id == sa.bindparam("release_id")
)


class ServedRelease(NamedTuple):
    """The current release of a snapshot: its id, day, and table entries of the manifest."""

    release_id: str
    as_of: dt.date
    tables: Mapping[str, Mapping[str, Any]]


class ReadStore:
    """A serving store, opened for reading, for any number of threads; it need not exist yet."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self._engine = open_engine(url, writing=False)
        self._manifest: tuple[str, dict[str, Any]] = ("", {})

    @contextmanager
    def snapshot(self) -> Iterator[tuple[sa.Connection, ServedRelease]]:
        """A read transaction, and the current release in it."""
        with self._connect() as db:
            release_id, as_of = self._pointer(db)
            cached_id, manifest = self._manifest
            if cached_id != release_id:
                manifest = db.execute(_MANIFEST, {"release_id": release_id}).scalar_one()
                self._manifest = (release_id, manifest)
            yield db, ServedRelease(release_id, as_of, manifest["tables"])

    def _connect(self) -> sa.Connection:
        try:
            return self._engine.connect()
        except sa.exc.OperationalError:
            file = sqlite_file(self._url)
            if file is not None and not file.exists():
                raise self._no_release() from None
            raise

    def _pointer(self, db: sa.Connection) -> tuple[str, dt.date]:
        try:
            row = db.execute(_POINTER).one_or_none()
        except (sa.exc.OperationalError, sa.exc.ProgrammingError):
            # A store without tables; checked only after an error, to keep lookups fast.
            if not sa.inspect(self._engine).has_table(CURRENT.name):
                raise self._no_release() from None
            raise
        if row is None:
            raise self._no_release()
        return row.release_id, row.as_of

    def _no_release(self) -> NoReleaseError:
        return NoReleaseError(self._url.render_as_string())

    def close(self) -> None:
        """Closes its connections."""
        self._engine.dispose()
