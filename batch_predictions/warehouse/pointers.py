"""Pointers to objects of a bucket, a bounded cache of the objects, and DuckDB's view of both."""

from __future__ import annotations

import contextlib
import datetime as dt
import glob
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from batch_predictions.core.bucket_files import PARTITION_COPIES, HomeBucket
from batch_predictions.core.file_hashes import hash_file
from batch_predictions.core.home import HomeError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

SCHEME = "home"
_BEGINNING = b'{"object": '
_MAX_POINTER_BYTES = 4096
_IN_USE_SECONDS = 600
"""A copy that was asked for within this time is not removed."""
_SCAN_EVERY = 16
"""The cache is measured whenever a sixteenth of its limit has been downloaded."""


class FilePointer(NamedTuple):
    """A pointer to the object of a bucket that has the rows of a partition.

    Attributes:
        name: of the object, `…/<SHA-256>-<id>.parquet`, from the home's URL.
        size: in bytes.
        rows: their number.
    """

    name: str
    size: int
    rows: int

    @property
    def sha256(self) -> str:
        """The SHA-256 of the object's bytes."""
        return self.name.rpartition("/")[2].partition("-")[0]


def pointer_text(name: str, size: int, rows: int) -> str:
    """The content of a pointer to an object."""
    return json.dumps({"object": name, "size": size, "rows": rows})


def read_pointer(path: Path) -> FilePointer | None:
    """The pointer in a file; None: the file is no pointer.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with path.open("rb") as file:
        content = file.read(_MAX_POINTER_BYTES)
    if not content.startswith(_BEGINNING):
        return None
    values = json.loads(content)
    return FilePointer(values["object"], values["size"], values["rows"])


class PointerCache:
    """Copies of objects, of which the least recently used ones are removed.

    Args:
        bucket: of the home; `bucket.cache_bytes` is the limit.
    """

    def __init__(self, bucket: HomeBucket) -> None:
        self.bucket = bucket
        self.folder = bucket.root / PARTITION_COPIES
        self._downloaded = 0

    def file(self, path: Path, pointer: FilePointer) -> Path:
        """The copy of an object, which is downloaded if it is missing.

        Args:
            path: of the pointer.
            pointer: what it said.

        Raises:
            FileNotFoundError: the partition has been replaced, and the object removed since.
            HomeError: the bucket cannot be read, or the object is not what was written.
        """
        copy = self._path(pointer.name)
        with contextlib.suppress(FileNotFoundError):
            if time.time() - copy.stat().st_mtime > _IN_USE_SECONDS / 2:
                copy.touch()
            return copy
        copy.parent.mkdir(parents=True, exist_ok=True)
        draft = copy.with_name(f".{copy.name}-{uuid.uuid4().hex}")
        try:
            if not self.bucket.objects.download(pointer.name, draft):
                raise FileNotFoundError(f"{path}: {self.bucket.url} has no {pointer.name} any more")
            if hash_file(draft) != pointer.sha256:
                raise HomeError(
                    f"{self.bucket.url}: {pointer.name} is damaged: its bytes are not those that "
                    "were written; remove the partition, and the next run makes it again"
                )
            draft.replace(copy)
        finally:
            draft.unlink(missing_ok=True)
        self._downloaded += pointer.size
        if self._downloaded * _SCAN_EVERY > self.bucket.cache_bytes:
            self._downloaded = 0
            self._evict()
        return copy

    def find_damage(self, prefix: str, pointers: Collection[FilePointer]) -> dict[str, str]:
        """Finds objects that the bucket lacks, or has otherwise than they were written.

        Copies that are not what was written are removed, and what they are copies of is downloaded
        again.

        Args:
            prefix: of the objects' names.
            pointers: to the objects.

        Returns:
            What is wrong, by name of the object; where this machine has a copy, it says so.

        Raises:
            HomeError: the bucket cannot be read.
        """
        objects = self.bucket.objects.list(prefix)
        damage = {}
        for pointer in pointers:
            copy = self._path(pointer.name)
            with contextlib.suppress(FileNotFoundError):
                if hash_file(copy) != pointer.sha256:
                    copy.unlink()
            info = objects.get(pointer.name)
            if info is None or info.size != pointer.size:
                state = "has no" if info is None else f"has {info.size} bytes of"
                kept = f"; a copy is at {copy}" if copy.exists() else ""
                damage[pointer.name] = f"{self.bucket.url} {state} {pointer.name}{kept}"
            elif not copy.exists():
                try:
                    self.file(copy, pointer)
                except (FileNotFoundError, HomeError) as error:
                    damage[pointer.name] = str(error)
        return damage

    def restore(self, pointer: FilePointer) -> bool:
        """Uploads this machine's copy of an object that the bucket lacks; whether it has one."""
        copy = self._path(pointer.name)
        if not copy.exists():
            return False
        self.bucket.objects.upload(copy, pointer.name)
        return True

    def adopt(self, draft: Path, name: str) -> None:
        """Moves a file that was uploaded to the cache."""
        copy = self._path(name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(copy)
        self._downloaded += copy.stat().st_size

    def clear(self) -> None:
        """Removes all copies."""
        for path, _ in self._copies():
            path.unlink(missing_ok=True)

    def _evict(self) -> None:
        """Removes the least recently used copies until nine tenths of the limit are left."""
        copies = sorted(self._copies(), key=lambda item: item[1].st_mtime)
        total = sum(stat.st_size for _, stat in copies)
        for path, stat in copies:
            if total <= self.bucket.cache_bytes * 0.9:
                return
            if time.time() - stat.st_mtime > _IN_USE_SECONDS:
                path.unlink(missing_ok=True)
                total -= stat.st_size

    def _copies(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                yield path, path.stat()

    def _path(self, name: str) -> Path:
        file = name.rpartition("/")[2]
        return self.folder / file[:2] / file


class _ReadAt:
    """A file that several threads read, each from a place of its own, as DuckDB does."""

    def __init__(self, path: Path) -> None:
        self._handle: int | None = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._handle).st_size
        self._place = threading.local()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self.size}[whence]
        self._place.value = start + offset
        return self.tell()

    def tell(self) -> int:
        return getattr(self._place, "value", 0)

    def read(self, size: int = -1) -> bytes:
        assert self._handle is not None, "the file is closed"
        place = self.tell()
        content = os.pread(self._handle, self.size - place if size < 0 else size, place)
        self._place.value = place + len(content)
        return content

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.close()


def pointer_file_system(local_file: Callable[[Path], Path]) -> AbstractFileSystem:
    """Paths `home:///<path of a partition>` for DuckDB: what pointers name, read as files.

    Args:
        local_file: gives a file on this machine for the path of a partition.
    """
    from fsspec import AbstractFileSystem

    class PointerFileSystem(AbstractFileSystem):
        """Partition files of homes in buckets."""

        protocol = SCHEME
        cachable = False

        def glob(self, path: str, **_: Any) -> list[str]:
            return sorted(f"{SCHEME}://{file}" for file in glob.glob(_path_of(path)))  # noqa: PTH207

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            file = Path(_path_of(path))
            pointer = read_pointer(file)
            size = pointer.size if pointer else file.stat().st_size
            return {"name": path, "size": size, "type": "file"}

        def exists(self, path: str, **_: Any) -> bool:
            return Path(_path_of(path)).exists()

        def modified(self, path: str) -> dt.datetime:
            return dt.datetime.fromtimestamp(Path(_path_of(path)).stat().st_mtime, dt.UTC)

        def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
            return _ReadAt(local_file(Path(_path_of(path))))

    return PointerFileSystem()


def _path_of(path: str) -> str:
    return "/" + path.removeprefix(f"{SCHEME}://").lstrip("/")
