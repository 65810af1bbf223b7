"""Names of the processes that build releases, and whether such a process is still running.

A publisher holds a lock as long as it builds: an advisory lock of the PostgreSQL server, or that of
a record (`process_records`) beside the SQLite store. The server or the operating system releases it
when the process dies, on whatever host and with whatever number; a build without the lock is dead.
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
from batch_predictions.serving.store.store import Store

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
