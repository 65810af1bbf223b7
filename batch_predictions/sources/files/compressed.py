"""Verifies gzip files: DuckDB reads them without comparing their checksums."""

from __future__ import annotations

import functools
import gzip
import zlib
from pathlib import Path

from batch_predictions.sources.base import SourceError

_BYTES_PER_READ = 1 << 20


def verify_gzip(path: Path, name: str) -> None:
    """Reads a gzip file to its end, so that its checksum and length are compared.

    A file that has not changed is read once by a process. Files of other formats are not read.

    Args:
        path: the file.
        name: its name in messages.

    Raises:
        SourceError: the file is damaged or not complete.
    """
    if path.suffix != ".gz":
        return
    stat = path.stat()
    reason = _gzip_problem(path, stat.st_size, stat.st_mtime_ns)
    if reason:
        raise SourceError(f"{name} is not a complete gzip file ({reason}): write it again")


@functools.lru_cache(maxsize=4096)
def _gzip_problem(path: Path, size: int, changed: int) -> str | None:
    """Why a file of this size and time is damaged; None if it is not."""
    try:
        with gzip.open(path) as file:
            while file.read(_BYTES_PER_READ):
                pass
    except (OSError, EOFError, zlib.error) as error:
        return str(error)
    return None
