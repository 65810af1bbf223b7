"""Snapshots for readers: a transaction that sees one complete release."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from batch_predictions.database_url import location_of
from batch_predictions.serving.release.pointer import NoReleaseError, Release, all_releases
from batch_predictions.serving.store.database import (
    connect,
    open_engine,
    parse_store_url,
    sqlite_file,
)
from batch_predictions.serving.store.read_only import (
    BUSY_SECONDS,
    FileReader,
    StoreChangedError,
    needs_reopening,
)
from batch_predictions.serving.store.schema import CURRENT, RELEASES

T = TypeVar("T")
MAX_CHANGES = 5
"""How often a query is repeated because the file of the store was written meanwhile."""
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
        self._url = parse_store_url(url)
        self._engine = open_engine(url, writing=False)
        self._manifest: tuple[str, dict[str, Any]] = ("", {})

    def __enter__(self) -> ReadStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def releases(self) -> list[Release]:
        """Every release in the store, newest day first; none where there is no store."""
        try:
            return self.read(lambda db, _: all_releases(db))
        except NoReleaseError:
            return []

    def read(self, query: Callable[[sa.Connection, ServedRelease], T]) -> T:
        """The result of a query in one snapshot.

        Args:
            query: reads from the connection, in the current release; it is called again if the file
                changed that was read as immutable.

        Raises:
            NoReleaseError: nothing has been released yet.
            StoreError: the store cannot be read; the message says what to do.
        """
        for _ in range(MAX_CHANGES):
            with suppress(StoreChangedError), self.snapshot() as (db, served):
                return query(db, served)
        with self.snapshot() as (db, served):
            return query(db, served)

    @contextmanager
    def snapshot(self) -> Iterator[tuple[sa.Connection, ServedRelease]]:
        """A read transaction, and the current release in it.

        Raises:
            StoreChangedError: at the end: what was read in it is not of one state of the store.
        """
        db, (release_id, as_of) = self._begin()
        with db:
            file = db.connection.driver_connection
            try:
                yield db, ServedRelease(release_id, as_of, self._tables(db, release_id))
            except sa.exc.DatabaseError:
                _require_unchanged(file)
                raise
            _require_unchanged(file)

    def _tables(self, db: sa.Connection, release_id: str) -> Mapping[str, Mapping[str, Any]]:
        cached_id, manifest = self._manifest
        if cached_id != release_id:
            manifest = db.execute(_MANIFEST, {"release_id": release_id}).scalar_one()
            self._manifest = (release_id, manifest)
        tables: Mapping[str, Mapping[str, Any]] = manifest["tables"]
        return tables

    def _begin(self) -> tuple[sa.Connection, tuple[str, dt.date]]:
        """A connection whose snapshot has begun, and the pointer in it."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            with ExitStack() as stack:
                try:
                    db = stack.enter_context(self._connect())
                    pointer = self._pointer(db)
                except sa.exc.OperationalError as error:
                    if not needs_reopening(error.orig) or time.monotonic() > deadline:
                        raise
                else:
                    stack.pop_all()
                    return db, pointer
            self._engine.dispose()

    def _connect(self) -> sa.Connection:
        try:
            return connect(self._engine)
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
        return NoReleaseError(location_of(self._url))

    def close(self) -> None:
        """Closes its connections."""
        self._engine.dispose()


def _require_unchanged(connection: Any) -> None:
    """Raises StoreChangedError if a file that is read as immutable has changed."""
    if isinstance(connection, FileReader) and connection.has_changed():
        raise StoreChangedError(f"{connection.file} was written while it was read: look up again")
