"""SQLAlchemy engines of the serving store: SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from batch_predictions.core.database_url import (
    DatabaseUrlError,
    location_of,
    parse_written_database_url,
)
from batch_predictions.core.read_only import (
    BUSY_SECONDS,
    FileReader,
    StoreError,
    StoreUnreachableError,
    open_immutable,
    open_reader,
)
from batch_predictions.core.redaction import redact, secrets_of_url

_POSTGRES_LIMITS = {"connect_timeout": 10, "tcp_user_timeout": 30_000}
"""Seconds, and milliseconds, after which a server that has vanished is an error; libpq waits for
minutes. Options of the URL come first."""


def sqlite_file(url: sa.URL) -> Path | None:
    """The file of an SQLite store; None for other databases."""
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise StoreError("serving.url: an SQLite store needs a file: sqlite:////path/to/file")
    return Path(url.database).absolute()


def parse_store_url(text: str) -> sa.URL:
    """The URL of a store.

    Raises:
        StoreError: it is not a URL of a database, which the message does not quote, or its driver
            is not installed.
    """
    try:
        return parse_written_database_url(text, "serving.url")
    except DatabaseUrlError as error:
        raise StoreError(str(error)) from None


def open_engine(store_url: str, *, writing: bool) -> sa.Engine:
    """An engine of a store; transactions of a reading one are snapshots.

    Raises:
        StoreError: the URL is neither of SQLite nor of PostgreSQL with psycopg.
    """
    url = parse_store_url(store_url)
    file = sqlite_file(url)
    if file is not None:
        return _sqlite_writer(file) if writing else _sqlite_reader(file)
    if url.get_backend_name() == "postgresql" and url.get_driver_name() == "psycopg":
        isolation = "READ COMMITTED" if writing else "REPEATABLE READ"
        limits = {name: v for name, v in _POSTGRES_LIMITS.items() if name not in url.query}
        engine = sa.create_engine(
            url,
            isolation_level=isolation,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args=limits,
        )
        if not writing:
            sa.event.listen(engine, "connect", _only_read)
        return engine
    raise StoreError(
        f"serving.url {location_of(url)} is not supported: use sqlite:///FILE or "
        "postgresql+psycopg://…"
    )


def _sqlite_writer(file: Path) -> sa.Engine:
    file.parent.mkdir(parents=True, exist_ok=True)
    uri = sa.URL.create("sqlite", database=file.as_uri(), query={"mode": "rwc", "uri": "true"})
    engine = sa.create_engine(uri, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)
    sa.event.listen(engine, "connect", _prepare_writer)
    sa.event.listen(engine, "begin", _begin_writing)
    return engine


def _sqlite_reader(file: Path) -> sa.Engine:
    engine = sa.create_engine(
        "sqlite://", creator=partial(open_reader, file), poolclass=QueuePool, hide_parameters=True
    )
    sa.event.listen(engine, "checkout", _refuse_outdated)
    sa.event.listen(engine, "begin", _begin_reading)
    return engine


def open_release_file(file: Path, connections: int) -> sa.Engine:
    """An engine of a file that nobody writes, with all its connections open already.

    The file can be removed then: readers have it open.

    Args:
        file: an SQLite file.
        connections: number of connections; further readers wait.

    Raises:
        StoreError: it cannot be read.
        sqlite3.OperationalError: there is no such file.
    """
    engine = sa.create_engine(
        "sqlite://",
        creator=partial(open_immutable, file),
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
    )
    sa.event.listen(engine, "begin", _begin_reading)
    opened = [engine.raw_connection() for _ in range(connections)]
    for connection in opened:
        connection.close()
    return engine


def connect(engine: sa.Engine) -> sa.Connection:
    """A connection to a store.

    Raises:
        StoreUnreachableError: the PostgreSQL server cannot be reached; the message has no password.
    """
    problem = ""
    try:
        return engine.connect()
    except sa.exc.DBAPIError as error:
        if engine.dialect.name == "sqlite":
            raise
        reason = " ".join(str(error.orig).split())[:300]
        problem = redact(reason, secrets_of_url(engine.url.render_as_string(hide_password=False)))
    # Raised outside of the block, so that the driver's error is not its cause.
    raise StoreUnreachableError(
        f"the serving store {location_of(engine.url)} cannot be reached: {problem}; check that it "
        "runs and serving.url"
    )


def _only_read(connection: Any, _: ConnectionPoolEntry) -> None:
    connection.read_only = True


def _refuse_outdated(connection: FileReader, *_: object) -> None:
    if connection.is_outdated():
        # The pool closes it and opens the file anew.
        raise sa.exc.DisconnectionError(f"{connection.file} has changed")


def _prepare_writer(connection: Any, _: ConnectionPoolEntry) -> None:
    # The driver would begin transactions itself; `_begin_writing` does.
    connection.isolation_level = None
    connection.execute("pragma foreign_keys = on")
    # FULL: a pointer that has moved survives a power failure.
    connection.execute("pragma synchronous = full")
    connection.execute("pragma journal_size_limit = 67108864")
    connection.execute("pragma cache_size = -32768")


def _begin_reading(connection: sa.Connection) -> None:
    connection.exec_driver_sql("begin")


def _begin_writing(connection: sa.Connection) -> None:
    # A deferred transaction that starts to write later can fail without waiting for the lock.
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("begin" if reading else "begin immediate")


def use_wal(engine: sa.Engine) -> None:
    """Sets SQLite's WAL mode, so that readers do not wait for writers; the file keeps it."""
    deadline = time.monotonic() + BUSY_SECONDS
    connection = engine.raw_connection()
    try:
        db = connection.driver_connection
        assert db is not None
        while db.execute("pragma journal_mode").fetchone()[0] != "wal":
            try:
                db.execute("pragma journal_mode = wal")
            except sqlite3.OperationalError as error:
                # SQLite does not wait here if another process changes the mode.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
    finally:
        connection.close()


def insert_into(db: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT of the database's dialect, which supports ON CONFLICT."""
    return (postgresql if db.dialect.name == "postgresql" else sqlite).insert(table)
