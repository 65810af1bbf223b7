"""Snapshots for readers: a transaction that sees one complete release."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import PoolProxiedConnection

from batch_predictions.core.database import connect, open_engine, parse_store_url, sqlite_file
from batch_predictions.core.database_url import location_of
from batch_predictions.core.read_only import (
    BUSY_SECONDS,
    FileReader,
    StoreChangedError,
    needs_reopening,
)
from batch_predictions.serving.store.pointer import (
    NoReleaseError,
    Release,
    ReleaseRemovedError,
    all_releases,
)
from batch_predictions.serving.store.store import CURRENT, RELEASES

T = TypeVar("T")
MAX_CHANGES = 5
"""How often a query is repeated because the file of the store was written meanwhile."""
RunStatement = Callable[[sa.Select[Any], Mapping[str, object]], Sequence[Sequence[Any]]]
"""Runs a statement with its parameters in a snapshot; returns its rows."""
MAX_MANIFESTS = 8
"""Manifests of the newest releases that were read, which are kept in memory."""
_POINTER = sa.select(CURRENT.c.release_id, CURRENT.c.as_of, CURRENT.c.version)
_MANIFEST = sa.select(RELEASES.c.manifest).where(
    RELEASES.c.release_id == sa.bindparam("release_id")
)
_NAMED_RELEASE = sa.select(RELEASES.c.as_of).where(
    RELEASES.c.release_id == sa.bindparam("release_id"), RELEASES.c.status == "ready"
)


class ServedRelease(NamedTuple):
    """The release that a snapshot is read for.

    Attributes:
        release_id: its id.
        as_of: its day.
        version: number of moves of the pointer so far.
        tables: table entries of its manifest, by name.
    """

    release_id: str
    as_of: dt.date
    version: int
    tables: Mapping[str, Mapping[str, Any]]

    def day_of(self, table: str) -> dt.date:
        """Day at whose end a table's rows were predicted.

        It is earlier than the release's where the table was not made for that.
        """
        earlier = self.earlier_days.get(table)
        return self.as_of if earlier is None else dt.date.fromisoformat(earlier)

    @property
    def earlier_days(self) -> dict[str, str]:
        """Tables whose rows are of an earlier day than the release, since that was not made."""
        return {name: entry["as_of"] for name, entry in self.tables.items() if "as_of" in entry}


class ReadStore:
    """A serving store, opened for reading, for any number of threads; it need not exist yet."""

    def __init__(self, url: str, engine: sa.Engine | None = None) -> None:
        """Takes the store's URL, and an engine that reads it; None: one of its own."""
        self._url = parse_store_url(url)
        self._engine = engine or open_engine(url, writing=False)
        self._manifests: dict[str, dict[str, Any]] = {}
        self._kept: list[PoolProxiedConnection] = []

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

    def current_release(self) -> Release | None:
        """The release that is served; None: nothing has been released yet."""
        return next((release for release in self.releases() if release.current), None)

    @property
    def is_file(self) -> bool:
        """Whether the store is a file of this machine, which is read in microseconds."""
        return self._engine.dialect.name == "sqlite"

    def read(
        self, query: Callable[[sa.Connection, ServedRelease], T], release_id: str | None = None
    ) -> T:
        """The result of a query in one snapshot.

        Args:
            query: reads from the connection, in the given release; it is called again if the file
                changed that was read as immutable.
            release_id: the release to read; None: the current one.

        Raises:
            NoReleaseError: nothing has been released yet.
            ReleaseRemovedError: the store has no such release, or has it no longer.
            StoreError: the store cannot be read; the message says what to do.
        """
        for _ in range(MAX_CHANGES):
            with suppress(StoreChangedError), self.snapshot(release_id) as (db, served):
                return query(db, served)
        with self.snapshot(release_id) as (db, served):
            return query(db, served)

    def read_rows(self, query: Callable[[RunStatement, ServedRelease], T]) -> T:
        """Runs a query in the current release, for thousands of queries a second.

        In SQLite, statements run on the driver's connection: SQLAlchemy's takes longer than a query
        (docs/figures/performance.md). Their rows have the database's types: no dates, no JSON.
        """
        if self.is_file:
            # Whatever is unusual is left to `read`, which reports it.
            with suppress(_NotReadDirectlyError, StoreChangedError, sqlite3.OperationalError):
                return self._read_directly(query)
        return self.read(lambda db, served: query(partial(execute, db), served))

    def _read_directly(self, query: Callable[[RunStatement, ServedRelease], T]) -> T:
        # Taking a connection out of SQLAlchemy's pool and giving it back takes a sixth of an
        # answer's time, so that one stays here.
        try:
            pooled = self._kept.pop()
        except IndexError:
            pooled = self._engine.raw_connection()
        try:
            file = pooled.driver_connection
            assert isinstance(file, FileReader)
            result = self._query_file(file, query)
        except BaseException:
            pooled.close()
            raise
        if self._kept:
            pooled.close()
        else:
            self._kept.append(pooled)
        return result

    def _query_file(self, file: FileReader, query: Callable[[RunStatement, ServedRelease], T]) -> T:
        if file.is_outdated():
            raise _NotReadDirectlyError
        file.execute("begin")
        pointer = file.execute(_sqlite_text(_POINTER)[0]).fetchone()
        manifest = self._manifests.get(pointer[0]) if pointer else None
        if manifest is None:
            raise _NotReadDirectlyError
        release_id, as_of, version = pointer
        day = dt.date.fromisoformat(as_of)
        served = ServedRelease(release_id, day, version, manifest["tables"])
        result = query(partial(_execute_directly, file), served)
        _require_unchanged(file)
        file.rollback()
        return result

    @contextmanager
    def snapshot(
        self, release_id: str | None = None
    ) -> Iterator[tuple[sa.Connection, ServedRelease]]:
        """A read transaction, and the current release, or a named one, in it.

        Raises:
            ReleaseRemovedError: the store has no such release, or has it no longer.
            StoreChangedError: at the end: what was read in it is not of one state of the store.
        """
        db, (current_id, as_of, version) = self._begin()
        with db:
            file = db.connection.driver_connection
            try:
                if release_id is not None and release_id != current_id:
                    as_of = self._day_of(db, release_id)
                read_id = release_id or current_id
                yield db, ServedRelease(read_id, as_of, version, self._tables(db, read_id))
            except sa.exc.DatabaseError:
                _require_unchanged(file)
                raise
            _require_unchanged(file)

    def _day_of(self, db: sa.Connection, release_id: str) -> dt.date:
        as_of: dt.date | None = db.execute(_NAMED_RELEASE, {"release_id": release_id}).scalar()
        if as_of is None:
            raise ReleaseRemovedError(f"release {release_id} is not in the store (any more)")
        return as_of

    def _tables(self, db: sa.Connection, release_id: str) -> Mapping[str, Mapping[str, Any]]:
        manifest = self._manifests.get(release_id)
        if manifest is None:
            manifest = db.execute(_MANIFEST, {"release_id": release_id}).scalar_one()
            kept = dict(list(self._manifests.items())[1 - MAX_MANIFESTS :])
            # Replaced as a whole: other threads read it meanwhile.
            self._manifests = {**kept, release_id: manifest}
        tables: Mapping[str, Mapping[str, Any]] = manifest["tables"]
        return tables

    def _begin(self) -> tuple[sa.Connection, tuple[str, dt.date, int]]:
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

    def _pointer(self, db: sa.Connection) -> tuple[str, dt.date, int]:
        try:
            row = db.execute(_POINTER).one_or_none()
        except (sa.exc.OperationalError, sa.exc.ProgrammingError):
            # A store without tables; checked only after an error, to keep lookups fast.
            if not sa.inspect(self._engine).has_table(CURRENT.name):
                raise self._no_release() from None
            raise
        if row is None:
            raise self._no_release()
        return row.release_id, row.as_of, row.version

    def _no_release(self) -> NoReleaseError:
        return NoReleaseError(location_of(self._url))

    def close(self) -> None:
        """Closes the connections to the store."""
        while self._kept:
            self._kept.pop().close()
        self._engine.dispose()


class _NotReadDirectlyError(Exception):
    """There is no release yet, its manifest has not been read yet, or the file has changed."""


def execute(
    db: sa.Connection, statement: sa.Select[Any], values: Mapping[str, Any]
) -> Sequence[Sequence[Any]]:
    """Runs a statement with its parameters and returns all rows.

    Args:
        db: a connection in the snapshot. With it bound, this function is a `RunStatement`.
        statement: a query with named parameters.
        values: of the parameters.
    """
    return db.execute(statement, values).all()


def _execute_directly(
    file: sqlite3.Connection, statement: sa.Select[Any], values: Mapping[str, object]
) -> Sequence[Sequence[Any]]:
    text, constants = _sqlite_text(statement)
    return file.execute(text, {**constants, **values}).fetchall()


@lru_cache(maxsize=64)
def _sqlite_text(statement: sa.Select[Any]) -> tuple[str, dict[str, object]]:
    """A statement in SQLite's SQL with named parameters, and the values of its constants."""
    compiled = statement.compile(dialect=sqlite.dialect(paramstyle="named"))
    return str(compiled), {k: v for k, v in compiled.params.items() if v is not None}


def _require_unchanged(connection: object) -> None:
    """Raises StoreChangedError if a file that is read as immutable has changed."""
    if isinstance(connection, FileReader) and connection.has_changed():
        raise StoreChangedError(f"{connection.file} was written while it was read: look up again")
