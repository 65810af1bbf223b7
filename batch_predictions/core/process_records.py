"""Records of processes: a locked file for each, which tells whether it still runs.

The operating system releases the lock of a file when its process dies, on whatever host and with
whatever number, so that no process number is taken for another's and no clock is compared. Hosts
that share a folder of records must share the locks of its file system, as NFS 4 does.
"""

from __future__ import annotations

import atexit
import datetime as dt
import fcntl
import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

_SUFFIX = ".json"
_registered: dict[Path, IO[str]] = {}
"""Files of this process, open so that it holds their locks; on NFS it could take these again."""


@dataclass(frozen=True)
class Process:
    """A process with a record.

    Attributes:
        pid: its number on its host.
        host: the host's name.
        command: what it does.
        since: when it began, an ISO time in UTC.
    """

    pid: int
    host: str
    command: str
    since: str

    @classmethod
    def this(cls, command: str) -> Process:
        """This process, beginning now."""
        since = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), command, since)

    @classmethod
    def of_text(cls, text: str) -> Process | None:
        """Parses a process from the text of its record; None if it is incomplete."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def as_text(self) -> str:
        """The text of the process's record."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (`{self.command}`, since {self.since})"


def register(folder: Path, name: str, command: str) -> None:
    """Records that this process does something, until `unregister` or the end of the process.

    Args:
        folder: of the records.
        name: unique among processes, such as the id of a Dagster run.
        command: what the process does, for the messages of others.
    """
    path = _record_path(folder, name)
    if path in _registered:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex}")
    file = draft.open("w", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(Process.this(command).as_text())
    file.flush()
    # Under its name it is locked from the beginning, so that nobody takes it for dead.
    draft.rename(path)
    _registered[path] = file


def unregister(folder: Path, name: str) -> None:
    """Removes this process's record, if it has one of that name."""
    path = _record_path(folder, name)
    if file := _registered.pop(path, None):
        path.unlink(missing_ok=True)
        file.close()


@atexit.register
def _unregister_all() -> None:
    for path in _registered:
        path.unlink(missing_ok=True)


def is_registered(folder: Path, name: str) -> bool:
    """Returns whether there is a record of that name, of a living or a dead process."""
    return _record_path(folder, name).exists()


def is_running(folder: Path, name: str) -> bool:
    """Returns whether the process of a record still runs; without a record, False."""
    path = _record_path(folder, name)
    return path in _registered or _is_locked(path)


def forget_dead(folder: Path) -> None:
    """Removes the records of dead processes."""
    for path in folder.glob(f"*{_SUFFIX}"):
        if path not in _registered and not _is_locked(path):
            path.unlink(missing_ok=True)


def running_processes(folder: Path) -> list[Process]:
    """Processes with a record that still run, the oldest first."""
    processes = []
    for path in folder.glob(f"*{_SUFFIX}"):
        if is_running(folder, path.name.removesuffix(_SUFFIX)):
            process = Process.of_text(path.read_text(encoding="utf-8"))
            if process is not None:
                processes.append(process)
    return sorted(processes, key=lambda process: process.since)


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _record_path(folder: Path, name: str) -> Path:
    return folder / f"{name}{_SUFFIX}"
