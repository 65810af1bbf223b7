"""Makes a backup of a home, which may be in use.

What points to other files is read before these: decisions before the versions of models that they
name, logs of ingests before partitions. Digests of partitions are read last, since they are
recorded before the files get their names. Files of a home are replaced as a whole, so that every
copy is one that was there. SQLite files are copied by SQLite.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from batch_predictions.core.home import BACKTESTS
from batch_predictions.operations.backup.pool import Backup, BackupFile, Pool
from batch_predictions.warehouse.digests import FOLDER as DIGESTS

LEFT_OUT = {"inference", "processes", "run.lock", "damaged", "training_cache", BACKTESTS}
"""Entries of a home that the next run makes again, or that are of its processes."""
SQLITE_HEADER = b"SQLite format 3\x00"
_SUFFIXES = (".lock", "-wal", "-shm", "-journal")
_POINTERS = ("decisions", "ingests")
"""Folders whose files point to others."""


def create_backup(
    home: Path,
    pool: Pool,
    name: str,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Backup:
    """Copies a home into a pool of backups.

    Files that are there with the size and time of an earlier backup are not read again.

    Args:
        home: the home folder.
        pool: the backups.
        name: of the new one.
        on_progress: called with the number of files done, and of all.

    Raises:
        BackupError: another process writes into the pool.
    """
    with pool.storage.locked():
        names = pool.names()
        earlier = {file.path: file for file in pool.read(names[0]).files} if names else {}
        paths = [path for path in _paths(home) if not _is_digest(path)]
        files = []
        # Sorted by whether they are pointed to, so that pointers are read first.
        for number, path in enumerate(sorted(paths, key=_is_pointed_to)):
            file = _add(home, path, pool, earlier)
            if file is not None:
                files.append(file)
            on_progress(number + 1, len(paths))
        # New files that pointers name may have been written since the folders were listed.
        listed = {*paths}
        for path in sorted((p for p in _paths(home) if p not in listed), key=_is_digest):
            file = _add(home, path, pool, earlier)
            if file is not None:
                files.append(file)
        backup = Backup(name=name, home=str(home), files=sorted(files, key=lambda file: file.path))
        pool.write(backup)
        return backup


def _paths(home: Path) -> Iterator[str]:
    """Files of a home, relative to it, without what is left out."""
    for root, folders, names in os.walk(home):
        relative = Path(root).relative_to(home)
        if relative == Path():
            folders[:] = [name for name in folders if name not in LEFT_OUT]
            names = [name for name in names if name not in LEFT_OUT]
        folders[:] = sorted(name for name in folders if not _is_draft(name))
        for name in sorted(names):
            if not (name.endswith(_SUFFIXES) or _is_draft(name)):
                yield (relative / name).as_posix()


def _is_draft(name: str) -> bool:
    """Returns whether a file name is that of an unfinished write: a draft or its folder."""
    return name.startswith((".draft-", ".tmp", ".restore-"))


def _is_digest(path: str) -> bool:
    return path.startswith(f"warehouse/{DIGESTS}/")


def _is_pointed_to(path: str) -> bool:
    parts = path.split("/")
    return not (len(parts) == 1 or any(folder in parts for folder in _POINTERS))


def _add(home: Path, path: str, pool: Pool, earlier: dict[str, BackupFile]) -> BackupFile | None:
    """Adds a file; None if it was removed meanwhile."""
    file = home / path
    try:
        with file.open("rb") as source:
            stat = os.fstat(source.fileno())
            is_sqlite = source.read(len(SQLITE_HEADER)) == SQLITE_HEADER
            source.seek(0)
            kept = earlier.get(path)
            if (
                not is_sqlite
                and kept is not None
                and (kept.size, kept.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
                and pool.storage.has(kept.sha256)
            ):
                return kept
            if not is_sqlite:
                sha256, size = pool.add(source)
                return BackupFile(path=path, size=size, mtime_ns=stat.st_mtime_ns, sha256=sha256)
    except FileNotFoundError:
        return None
    sha256, size = _add_sqlite(file, pool)
    return BackupFile(path=path, size=size, mtime_ns=stat.st_mtime_ns, sha256=sha256)


def _add_sqlite(file: Path, pool: Pool) -> tuple[str, int]:
    """Adds a copy of an SQLite database at one moment, its write-ahead log included."""
    with tempfile.TemporaryDirectory(dir=pool.storage.drafts(), prefix=".sqlite-") as folder:
        copy = Path(folder) / "copy"
        # Not read-only: a killed process leaves a journal that the next one to open it rolls back.
        uri = f"{file.absolute().as_uri()}?mode=rw"
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=60)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            target.execute("pragma journal_mode = delete")
        with copy.open("rb") as content:
            return pool.add(content)
