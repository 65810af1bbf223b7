"""SQLite connections that only read: another Unix user, a read-only mount and a full disk suffice.

A database in WAL mode has two more files while it is in use: `-wal` with the newest changes, and
`-shm`, memory that its processes share. A publisher leaves both in place (`leave_for_readers`),
so that a reader that may not create or change them has them. A file without `-shm` is in no
process's use, such as a copy: it is read as immutable, and every read checks that it has stayed so.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

BUSY_SECONDS = 60
"""How long a statement waits for another process, in seconds."""
_SHARED = "mode=ro"
_SHARED_UNWRITTEN = "mode=ro&readonly_shm=1"
"""The shared memory is not written either: SQLite could not extend it on a full disk."""
_IMMUTABLE = "mode=ro&immutable=1"


_REOPEN = {
    "SQLITE_READONLY_RECOVERY",
    "SQLITE_READONLY_CANTINIT",
    "SQLITE_READONLY_CANTLOCK",
    "SQLITE_BUSY_RECOVERY",
}
"""A killed writer left the shared memory unfinished: whoever opens the database anew reads on."""


class StoreError(RuntimeError):
    """The serving store does not support a table or a URL; the message says what to do."""


class StoreUnreachableError(StoreError):
    """The server of the serving store does not answer; the message has no password."""


class StoreChangedError(StoreError):
    """The file of a store was replaced or written while it was read as immutable: read again."""


class FileReader(sqlite3.Connection):
    """A connection that only reads; `open_reader` makes it.

    Attributes:
        file: the database.
        fingerprint: of the file that is read as immutable; None where SQLite's locks are used.
    """

    file: str
    fingerprint: tuple[int, int, int] | None = None

    def is_outdated(self) -> bool:
        """Returns whether the file must be opened anew: it has changed, or a process uses it."""
        return self.fingerprint is not None and (self.has_changed() or _exists(self.file, "-shm"))

    def has_changed(self) -> bool:
        """Returns whether a file read as immutable was written or replaced since it was opened."""
        return self.fingerprint is not None and self.fingerprint != _fingerprint(self.file)


def open_reader(file: Path) -> FileReader:
    """Opens a database for reading. It creates no file; without -shm, it reads none but `file`.

    Raises:
        StoreError: it exists and cannot be read; the message says what to do.
        sqlite3.OperationalError: there is no such file, or `needs_reopening` is true of the error.
    """
    # SQLite names the files beside the database after the target of a link.
    path = os.path.realpath(file)
    try:
        unused = _is_unused(path)
        fingerprint = _fingerprint(path) if unused else None
    except PermissionError as error:
        raise _not_readable(path, error) from None
    errors = []
    for query in [_IMMUTABLE] if unused else [_SHARED, _SHARED_UNWRITTEN]:
        try:
            return _open(path, query, fingerprint)
        except sqlite3.DatabaseError as error:
            errors.append(error)
    if not _exists(path, "") or any(map(needs_reopening, errors)):
        raise errors[0]
    raise _not_readable(path, errors[0]) from None


def open_immutable(file: Path) -> FileReader:
    """Opens a file that nobody will write, such as a release file; it may be removed meanwhile.

    Raises:
        StoreError: it exists and cannot be read.
        sqlite3.OperationalError: there is no such file.
    """
    path = os.path.realpath(file)
    try:
        return _open(path, _IMMUTABLE, None)
    except sqlite3.DatabaseError as error:
        if not _exists(path, ""):
            raise
        raise _not_readable(path, error) from None


def needs_reopening(error: BaseException | None) -> bool:
    """Returns whether SQLite's error means that the database has to be opened anew."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorname", "") in _REOPEN


def leave_for_readers(engine: sa.Engine, file: Path) -> None:
    """Closes a writer's connections; `-wal`, emptied, and `-shm` stay for readers.

    The last connection that may write would remove both. One that may only read is closed last.
    """
    pooled = engine.raw_connection()
    writer = pooled.driver_connection
    assert writer is not None
    # On a full disk, or beside readers, the log stays as it is: it is valid.
    with suppress(sqlite3.OperationalError):
        writer.execute("pragma busy_timeout = 0")
        writer.execute("pragma wal_checkpoint(truncate)").fetchall()
    pooled.close()
    last: sqlite3.Connection | None = None
    with suppress(sqlite3.OperationalError):
        last = _open(os.path.realpath(file), _SHARED, None)
    engine.dispose()
    if last is not None:
        last.close()


def _open(file: str, query: str, fingerprint: tuple[int, int, int] | None) -> FileReader:
    connection = sqlite3.connect(
        f"{Path(file).as_uri()}?{query}",
        uri=True,
        timeout=BUSY_SECONDS,
        # SQLAlchemy's pool gives a connection to one thread at a time.
        check_same_thread=False,
        # Otherwise the driver begins no transaction for a SELECT, and there is no snapshot.
        isolation_level=None,
        factory=FileReader,
    )
    try:
        connection.file, connection.fingerprint = file, fingerprint
        connection.execute("pragma query_only = on")
        # The first statement opens -wal and -shm.
        connection.execute("select count(*) from sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _is_unused(file: str) -> bool:
    """Returns whether no process has the database open and its log is empty or absent."""
    has_log = _exists(file, "-wal") and Path(f"{file}-wal").stat().st_size > 0
    return not (has_log or _exists(file, "-shm") or _exists(file, "-journal"))


def _exists(file: str, suffix: str) -> bool:
    # os.path would take a folder that may not be entered for an empty one. A Path is slow here.
    try:
        os.stat(file + suffix)  # noqa: PTH116
    except FileNotFoundError:
        return False
    return True


def _fingerprint(file: str) -> tuple[int, int, int] | None:
    """Inode, size and modification time (ns); None where there is no file."""
    try:
        status = os.stat(file)  # noqa: PTH116
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _not_readable(file: str, error: Exception) -> StoreError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    name = Path(file).name
    lacks_memory = isinstance(error, sqlite3.Error) and not _exists(file, "-shm")
    if lacks_memory and _exists(file, "-wal"):
        return StoreError(
            f"{file} cannot be read without write access ({reason}): its newest changes are in "
            f"{name}-wal, and {name}-shm is missing; copy it together with both, or run "
            "`batch-predictions lookup table` as a user who may write there"
        )
    return StoreError(
        f"{file} cannot be read ({reason}): let the user {os.getuid()} read it, its -wal and "
        "-shm, and enter its folder (execution.file_mode), or publish again if it is damaged"
    )
