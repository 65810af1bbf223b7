"""Who builds a release, and whether they still live: left-overs of the dead may be removed."""

from __future__ import annotations

import datetime as dt
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batch_predictions.home import process_exists

GIVEN_UP = dt.timedelta(days=1)
"""A release that another host has been building for longer was left behind."""

_AT_WORK: set[str] = set()


@contextmanager
def register_publisher() -> Iterator[str]:
    """The name of one piece of work of this process: host, process, its start, a random part."""
    pid = os.getpid()
    name = f"{socket.gethostname()}-{pid}-{_started(pid)}-{uuid.uuid4().hex[:8]}"
    _AT_WORK.add(name)
    try:
        yield name
    finally:
        _AT_WORK.discard(name)


def is_dead(builder: str, since: dt.datetime, now: dt.datetime) -> bool:
    """Whether a builder works no more: its process has ended, or it began more than a day ago."""
    if builder in _AT_WORK:
        return False
    if now - since > GIVEN_UP:
        return True
    host, pid, started, _ = builder.rsplit("-", 3)
    if host != socket.gethostname():
        return False
    # The start tells a process from a later one with its number, as in a restarted container.
    return int(pid) == os.getpid() or _started(int(pid)) != started


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty where there is no such process."""
    if not Path("/proc/self/stat").exists():
        return "0" if process_exists(pid) else ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The process's own name, in brackets, may hold blanks.
    return stat.rpartition(")")[2].split()[19]
