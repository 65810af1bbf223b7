"""The home's lock: a command holds it alone, runs of the UI and of the schedules share it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from batch_predictions.core.process_records import Process, running_processes

_held_alone: set[Path] = set()
"""Homes whose lock this process holds alone."""


def processes_folder(home: Path) -> Path:
    """The records of the processes that share the lock: see `process_records`."""
    return home / "processes"


class HomeBusyError(RuntimeError):
    """Another process holds the home's lock; the message says which."""


@contextmanager
def home_lock(home: Path, command: str) -> Iterator[None]:
    """Holds the home's lock alone; the operating system releases it if the process dies.

    Args:
        home: the home folder.
        command: what this process does, for the message of others.

    Raises:
        HomeBusyError: another process holds it; the message names its number, host and command.
    """
    with _open_lock_file(home) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeBusyError(
                f"{home} is in use by {_holders(file, home)}: wait until it ends, or choose "
                "another --home"
            ) from None
        file.truncate(0)
        file.write(Process.this(command).as_text())
        file.flush()
        _held_alone.add(home.resolve())
        try:
            yield
        finally:
            _held_alone.discard(home.resolve())
            file.truncate(0)


class SharedHomeLock:
    """A share of the home's lock, which keeps commands that need it alone from starting.

    A process that holds the lock alone has every share.

    Args:
        home: the home folder.

    Use it as a context manager around `try_acquire`.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._file: IO[str] | None = None

    def __enter__(self) -> SharedHomeLock:
        self._file = _open_lock_file(self.home)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._file is not None
        self._file.close()

    def try_acquire(self) -> str | None:
        """Takes a share, without waiting.

        Returns:
            None if it was taken; else a description of the process that holds the lock alone.
        """
        assert self._file is not None
        if self.home.resolve() in _held_alone:
            return None
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holders(self._file, self.home)
        # What a command that was killed has left.
        self._file.truncate(0)
        return None


def command_with_home(home: Path) -> str | None:
    """A description of the command that holds the home's lock alone; None: there is none.

    It takes the lock for a moment only where a command has written to its file, so that a command
    that begins meanwhile does not meet it.
    """
    path = home / "run.lock"
    if not path.exists() or not path.stat().st_size:
        return None
    with SharedHomeLock(home) as lock:
        return lock.try_acquire()


def _open_lock_file(home: Path) -> IO[str]:
    home.mkdir(parents=True, exist_ok=True)
    return (home / "run.lock").open("a+", encoding="utf-8")


def _holders(file: IO[str], home: Path) -> str:
    """Names the process that holds the lock alone, or those that share it."""
    file.seek(0)
    holder = Process.of_text(file.read())
    holders = [holder] if holder else running_processes(processes_folder(home))
    if not holders:
        return "another process that has just started"
    return " and ".join(str(process) for process in holders)
