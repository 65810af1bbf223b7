"""A lock of one process among those that share a file system."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock of a file; the operating system releases it if the process dies.

    Args:
        path: the file, which is made if it is missing, in a folder that exists.
        wait: until another process releases it.

    Raises:
        BlockingIOError: another process holds it, and `wait` is false.
    """
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
