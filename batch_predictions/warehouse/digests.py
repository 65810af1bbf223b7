"""The digest of every partition's file, its SHA-256, recorded when the file is written.

`<home>/warehouse/.digests/<table>.jsonl` has a line for each file that was written: its folder,
size, time, inode and digest. The line is appended before the file gets its name, so that whatever
is killed and whenever, a file has the digest of one of the newest lines of its folder. A file that
has another one was damaged, or written by another program.

A home in a bucket needs no lines: a pointer names its object by the digest.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from batch_predictions.core.durability import atomic_write, fsync_folder
from batch_predictions.core.file_hashes import hash_file
from batch_predictions.core.file_lock import file_lock
from batch_predictions.tables import Table
from batch_predictions.warehouse.pointers import read_pointer
from batch_predictions.warehouse.schema_sql import WarehouseError

FOLDER = ".digests"
_KEPT = 2
"""Lines of a folder that stay: that of its file, and that of a write that was killed."""
_SLACK = 200
"""Lines beyond those that stay, from which a file of lines is written anew."""


class Digest(NamedTuple):
    """The digest of a file, and what tells that the file has not changed since.

    Attributes:
        size: bytes; -1: the file is suspected, and to be verified.
        mtime_ns: time of its last change, ns.
        inode: its number on the disk.
        sha256: of its bytes.
    """

    size: int
    mtime_ns: int
    inode: int
    sha256: str


class DamagedPartitionError(WarehouseError):
    """A partition's file has other bytes than were written."""


class PartitionDigests:
    """The digests of the files of one table of a home.

    Args:
        folder: the warehouse's.
        table: the table.
    """

    def __init__(self, folder: Path, table: Table) -> None:
        self._table, self._root = table, folder / table.schema / table.name
        self._path = folder / FOLDER / f"{table.qualified}.jsonl"

    def record(self, drafts: Mapping[Path, Path]) -> None:
        """Records files that are about to get their names.

        Args:
            drafts: the file that will be a partition's, by the partition's path.
        """
        if drafts:
            self._append({self._key(path): _digest_of(draft) for path, draft in drafts.items()})

    def get(self, path: Path) -> str:
        """The digest of a partition, which is read from its file only where no line has it.

        Args:
            path: of the partition, as `Warehouse.path` gives it.

        Raises:
            FileNotFoundError: the partition is not written.
            DamagedPartitionError: the file has changed, and has not the bytes that were written.
        """
        newest = self._newest(self._key(path), os.fspath(path))
        return newest or self.verify(path)

    def of_partitions(self, keys: Iterable[str]) -> dict[str, str]:
        """Digests of partitions, of a table without parts; those without a file are left out.

        Raises:
            DamagedPartitionError: a file has changed, and has not the bytes that were written.
        """
        digests = {}
        for key in keys:
            # Texts: paths of a year's days take longer than all else here.
            name = f"{self._table.partition}={key}"
            path = f"{self._root}/{name}/data.parquet"
            try:
                digests[key] = self._newest(name, path) or self.get(Path(path))
            except FileNotFoundError:
                continue
        return digests

    def is_current(self, path: Path) -> bool:
        """Returns whether a file has the size, time and inode with which its digest was recorded.

        A file that is no more has nothing to be examined.
        """
        try:
            return self._newest(self._key(path), os.fspath(path)) is not None
        except FileNotFoundError:
            return True

    def remove(self) -> None:
        """Removes the record of a table whose partitions were removed."""
        for suffix in (".jsonl", ".lock"):
            self._path.with_suffix(suffix).unlink(missing_ok=True)

    def is_known(self, path: Path) -> bool:
        """Returns whether a digest of the partition is recorded."""
        return self._key(path) in self._lines()

    def verify(self, path: Path) -> str:
        """Reads a partition's file and returns its digest; a file without a line gets one.

        Raises:
            FileNotFoundError: the partition is not written.
            DamagedPartitionError: it has not the bytes that were written.
        """
        pointer = read_pointer(path)
        if pointer is not None:
            # What is downloaded is compared with it.
            return pointer.sha256
        # Before the file is read: one that is replaced meanwhile is read again next time.
        key, digest = self._key(path), _digest_of(path)
        known = self._lines().get(key, [])
        if known and digest.sha256 not in {line.sha256 for line in known}:
            if known[-1].size >= 0:
                # As long as it is there, no process takes it for what was written.
                self._append({key: Digest(-1, 0, 0, known[-1].sha256)})
            raise DamagedPartitionError(
                f"{path} is damaged: its bytes are not those that were written; `batch-predictions "
                "run` moves it aside and makes it again"
            )
        if not known or known[-1] != digest:
            self._append({key: digest})
        return digest.sha256

    def _newest(self, key: str, path: str) -> str | None:
        """The newest digest of a folder; None if the file has another size, time or inode."""
        lines = self._lines().get(key)
        stat = os.stat(path)  # noqa: PTH116
        if lines and lines[-1][:3] == (stat.st_size, stat.st_mtime_ns, stat.st_ino):
            return lines[-1].sha256
        return None

    def _key(self, path: Path) -> str:
        return path.parent.relative_to(self._root).as_posix()

    def _lines(self) -> Mapping[str, list[Digest]]:
        """The recorded digests by folder, oldest first."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return {}
        return _read_lines(self._path, stat.st_size, stat.st_mtime_ns, stat.st_ino)

    def _append(self, digests: Mapping[str, Digest]) -> None:
        """Appends lines, durably; writes the file anew when most of its lines are old."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(self._path.with_suffix(".lock")):
            is_new = not self._path.exists()
            with self._path.open("ab") as file:
                # First a line end: a power cut may have left a part of a line.
                text = "\n" + "".join(_line(key, digest) for key, digest in digests.items())
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                fsync_folder(self._path.parent)
            lines = self._lines()
            if sum(map(len, lines.values())) > _KEPT * len(lines) + _SLACK:
                kept = {
                    key: digests[-_KEPT:]
                    for key, digests in lines.items()
                    if (self._root / key / "data.parquet").exists()
                }
                atomic_write(self._path, "".join(_line(k, d) for k, ds in kept.items() for d in ds))


def _digest_of(path: Path) -> Digest:
    stat = path.stat()
    return Digest(stat.st_size, stat.st_mtime_ns, stat.st_ino, hash_file(path))


def _line(key: str, digest: Digest) -> str:
    return json.dumps([key, *digest]) + "\n"


@functools.lru_cache(maxsize=128)
def _read_lines(path: Path, size: int, mtime_ns: int, inode: int) -> Mapping[str, list[Digest]]:
    """Reads the lines of a file; its size, time and inode make the result anew.

    A line that a killed process left unfinished, or that cannot be read, counts as none.
    """
    lines: dict[str, list[Digest]] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            key, *values = json.loads(text)
            digest = Digest(*values)
        except (ValueError, TypeError):
            continue
        lines.setdefault(key, []).append(digest)
    return lines
