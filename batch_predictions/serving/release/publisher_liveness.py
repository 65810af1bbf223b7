"""Names of the processes that build releases, and whether such a process is still running."""

from __future__ import annotations

import datetime as dt
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batch_predictions.home import process_exists

MAX_BUILD_TIME = dt.timedelta(days=1)
"""A build of another host that takes longer counts as dead."""

_ACTIVE: set[str] = set()


@contextmanager
def register_publisher() -> Iterator[str]:
    """A unique name for a build by this process: host, process number, its start, a random part."""
    pid = os.getpid()
    name = f"{socket.gethostname()}-{pid}-{_start_ticks(pid)}-{uuid.uuid4().hex[:8]}"
    _ACTIVE.add(name)
    try:
        yield name
    finally:
        _ACTIVE.discard(name)


def is_dead(builder: str, since: dt.datetime, now: dt.datetime) -> bool:
    """Whether a builder no longer runs: its process has ended, or it started over a day ago."""
    if builder in _ACTIVE:
        return False
    if now - since > MAX_BUILD_TIME:
        return True
    host, pid, started, _ = builder.rsplit("-", 3)
    if host != socket.gethostname():
        return False
    # A later process may have the same number, as in a restarted container, but not the same start.
    return int(pid) == os.getpid() or _start_ticks(int(pid)) != started


def _start_ticks(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if there is no such process."""
    if not Path("/proc/self/stat").exists():
        return "0" if process_exists(pid) else ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The process's name, in parentheses, may contain spaces.
    return stat.rpartition(")")[2].split()[19]
