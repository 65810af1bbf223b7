"""The home's lock: a command holds it alone, runs of the UI and of the schedules share it."""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from batch_predictions.core.database import connect, open_engine
from batch_predictions.core.home import BACKTESTS, HomeError
from batch_predictions.core.home_bucket import bucket_of, location_of
from batch_predictions.core.process_records import Process, running_processes

ENDING_SECONDS = 30.0
"""How long the runs of a backtest that was stopped are waited for: they end by themselves."""
_held_alone: set[Path] = set()
"""Homes whose lock this process holds alone."""


def processes_folder(home: Path) -> Path:
    """The records of the processes that share the lock: see `process_records`."""
    return home / "processes"


class HomeBusyError(RuntimeError):
    """Another process holds the home's lock; the message says which."""


@contextmanager
def home_lock(home: Path, command: str) -> Iterator[None]:
    """Holds the home's lock alone; it is released if the process dies.

    Args:
        home: the home folder.
        command: what this process does, for the message of others.

    Raises:
        HomeBusyError: another process holds it; the message names its number, host and command.
        HomeError: the home is in a bucket, and no database has its lock.
        StoreError: the database cannot be reached.
    """
    with _open_lock(home) as lock:
        if not lock.try_alone(command):
            raise HomeBusyError(
                f"{location_of(home)} is in use by {lock.holders()}: wait until it ends, or choose "
                "another --home"
            )
        _held_alone.add(home.resolve())
        try:
            yield
        finally:
            _held_alone.discard(home.resolve())
            lock.release()


@contextmanager
def backtests_lock(home: Path, command: str) -> Iterator[Path]:
    """Holds the lock of a home's backtests alone, once the runs of a stopped one have ended.

    Args:
        home: the home folder.
        command: what this process does, for the message of others.

    Yields:
        The folder of the backtests.

    Raises:
        HomeBusyError: another backtest is under way; the message names its process.
    """
    folder = home / BACKTESTS
    with home_lock(folder, command):
        deadline = time.monotonic() + ENDING_SECONDS
        for past in sorted(path.parent for path in folder.glob("*/run.lock")):
            while True:
                try:
                    with home_lock(past, command):
                        break
                except HomeBusyError:
                    if time.monotonic() > deadline:
                        raise
                time.sleep(0.1)
        yield folder


class SharedHomeLock:
    """A share of the home's lock, which keeps commands that need it alone from starting.

    A process that holds the lock alone has every share.

    Args:
        home: the home folder.

    Use it as a context manager around `try_acquire`.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._stack = ExitStack()
        self._lock: _FileLock | _DatabaseLock | None = None

    def __enter__(self) -> SharedHomeLock:
        self._lock = self._stack.enter_context(_open_lock(self.home))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def try_acquire(self) -> str | None:
        """Takes a share, without waiting.

        Returns:
            None if it was taken; else a description of the process that holds the lock alone.
        """
        assert self._lock is not None
        if self.home.resolve() in _held_alone or self._lock.try_share():
            return None
        return self._lock.holders()


class _FileLock:
    """The lock of a local home: that of a file, which has the command that holds it alone."""

    def __init__(self, home: Path, file: IO[str]) -> None:
        self.home, self._file = home, file

    def try_alone(self, command: str) -> bool:
        if not self._try(fcntl.LOCK_EX):
            return False
        self._file.truncate(0)
        self._file.write(Process.this(command).as_text())
        self._file.flush()
        return True

    def try_share(self) -> bool:
        if not self._try(fcntl.LOCK_SH):
            return False
        # What a command that was killed has left.
        self._file.truncate(0)
        return True

    def release(self) -> None:
        self._file.truncate(0)

    def holders(self) -> str:
        """Names the process that holds the lock alone, or those that share it."""
        self._file.seek(0)
        holder = Process.of_text(self._file.read())
        holders = [holder] if holder else running_processes(processes_folder(self.home))
        if not holders:
            return "another process that has just started"
        return " and ".join(str(process) for process in holders)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class _DatabaseLock:
    """The lock of a home in a bucket: PostgreSQL's, of the session of a connection.

    A process that loses its connection loses the lock; two that write one partition, or one file,
    still cannot replace each other's unseen (`bucket_files`, `delta_log`).
    """

    def __init__(self, url: str, db: sa.Connection) -> None:
        self._db = db
        digest = hashlib.sha256(f"batch_predictions home {url}".encode()).digest()
        self._key = int.from_bytes(digest[:8], signed=True)

    def try_alone(self, command: str) -> bool:
        process = Process.this(command)
        self._db.execute(
            sa.text("select set_config('application_name', :name, false)"),
            {"name": f"{process.command} (process {process.pid} on {process.host})"[:63]},
        )
        return self._try("pg_try_advisory_lock")

    def try_share(self) -> bool:
        return self._try("pg_try_advisory_lock_shared")

    def release(self) -> None:
        self._db.execute(sa.text("select pg_advisory_unlock_all()"))

    def holders(self) -> str:
        """Names the sessions that hold the lock."""
        rows = self._db.execute(
            sa.text(
                "select a.application_name from pg_locks l join pg_stat_activity a using (pid) "
                "where l.locktype = 'advisory' and l.granted and l.objsubid = 1 "
                "and l.classid::bigint = (:key >> 32) & 4294967295 "
                "and l.objid::bigint = :key & 4294967295 order by 1"
            ),
            {"key": self._key},
        )
        return " and ".join(name or "a run of Dagster" for (name,) in rows) or "another process"

    def _try(self, function: str) -> bool:
        query = sa.text(f"select {function}(:key)")
        return bool(self._db.execute(query, {"key": self._key}).scalar())


def command_with_home(home: Path) -> str | None:
    """A description of the command that holds the home's lock alone; None: there is none.

    It takes the lock for a moment only where a command has written to its file, so that a command
    that begins meanwhile does not meet it.
    """
    if bucket_of(home) is None:
        path = home / "run.lock"
        if not path.exists() or not path.stat().st_size:
            return None
    with SharedHomeLock(home) as lock:
        return lock.try_acquire()


@contextmanager
def _open_lock(home: Path) -> Iterator[_FileLock | _DatabaseLock]:
    bucket = bucket_of(home)
    if bucket is None:
        home.mkdir(parents=True, exist_ok=True)
        with (home / "run.lock").open("a+", encoding="utf-8") as file:
            yield _FileLock(home, file)
        return
    if bucket.database_url is None:
        raise HomeError(f"{bucket.url} needs a PostgreSQL for its lock: set serving.url")
    engine = open_engine(bucket.database_url, writing=True)
    try:
        with connect(engine) as db:
            yield _DatabaseLock(bucket.url, db.execution_options(isolation_level="AUTOCOMMIT"))
    finally:
        engine.dispose()
