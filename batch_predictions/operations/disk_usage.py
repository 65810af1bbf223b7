"""The disk of a home, and what the home takes of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class DiskUsage(NamedTuple):
    """Bytes of a disk."""

    total: int
    used: int
    free: int


def disk_of(home: Path) -> DiskUsage:
    """Total, used and free bytes of the disk that a home is on, or would be."""
    home = home.absolute()
    existing = next(path for path in (home, *home.parents) if path.exists())
    return DiskUsage(*shutil.disk_usage(existing))


def file_sizes(folder: str) -> Iterator[int]:
    """Bytes of every file below a folder, in which a run may replace files meanwhile."""
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                yield Path(root, name).lstat().st_size
            except FileNotFoundError:
                # A run replaced it meanwhile.
                continue
