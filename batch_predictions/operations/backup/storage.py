"""Storage of a pool of backups: a folder, or an object store.

objects/3f/3f9a…        the bytes of a file
backups/2026-11-27T051000Z.json   a list of files
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Protocol

from batch_predictions.core.durability import atomic_write, fsync_folder
from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.object_store import ObjectFolder, local_folder

OBJECTS, LISTS = "objects", "backups"
REMOVED_AFTER = dt.timedelta(days=1)
"""Age of bytes in an object store that no backup has, from which they are removed: until then a
backup that is under way may have added them."""


class BackupError(RuntimeError):
    """A folder has no such backup, or a file of it is missing or damaged."""


class BackupStorage(Protocol):
    """Keeps lists of backups by name, and bytes by their hash.

    Attributes:
        location: for messages.
    """

    location: str

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from writing, where that is possible."""
        yield

    def drafts(self) -> Path:
        """A local folder for drafts."""
        ...

    def names(self) -> list[str]:
        """Names of the lists of backups."""
        ...

    def read_list(self, name: str) -> str:
        """The text of a list.

        Raises:
            OSError, BackupError: it cannot be read.
        """
        ...

    def write_list(self, name: str, text: str) -> None:
        """Writes a list, whole or not at all."""
        ...

    def remove_list(self, name: str) -> None:
        """Removes the list of a backup."""
        ...

    def has(self, sha256: str, size: int | None = None) -> bool:
        """Returns whether there are bytes with a hash, and with a size where one is given."""
        ...

    def add(self, draft: Path, sha256: str) -> None:
        """Adds the bytes of a draft, which is fsynced, and may move it."""
        ...

    def fetch(self, sha256: str, target: Path) -> Path:
        """A local file with bytes: the one of the storage, or `target`, to which it writes them.

        Raises:
            FileNotFoundError: they are missing.
        """
        ...

    def remove_unused(self, used: set[str]) -> None:
        """Removes bytes that no list has.

        Args:
            used: hashes that lists have.
        """
        ...


def open_storage(location: str) -> BackupStorage:
    """The storage at a path, or at a URL such as s3://bucket/backups.

    Raises:
        BackupError: the URL is not one of an object store, or its store cannot be opened.
    """
    folder = local_folder(location, "backups", BackupError)
    return FolderStorage(folder) if folder else ObjectStorage(location)


class FolderStorage:
    """Backups in a folder, which one process writes at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.location = folder, str(folder)
        self.objects, self.lists = folder / OBJECTS, folder / LISTS

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from writing.

        Raises:
            BackupError: another process writes.
        """
        for folder in (self.objects, self.lists):
            folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(file_lock(self.folder / ".lock", wait=False))
            except BlockingIOError:
                raise BackupError(
                    f"another backup into {self.folder} is under way: wait until it ends"
                ) from None
            yield

    def drafts(self) -> Path:
        """The folder of the bytes, whose drafts are renamed."""
        return self.objects

    def names(self) -> list[str]:
        """Names of the lists of backups."""
        return [path.stem for path in self.lists.glob("*.json")]

    def read_list(self, name: str) -> str:
        """The text of a list."""
        return self._list_path(name).read_text(encoding="utf-8")

    def write_list(self, name: str, text: str) -> None:
        """Writes a list, whole or not at all."""
        atomic_write(self._list_path(name), text)

    def remove_list(self, name: str) -> None:
        """Removes the list of a backup."""
        self._list_path(name).unlink()

    def has(self, sha256: str, size: int | None = None) -> bool:
        """Returns whether there are bytes with a hash, and with a size where one is given."""
        path = self.object_path(sha256)
        return path.exists() and (size is None or path.stat().st_size == size)

    def add(self, draft: Path, sha256: str) -> None:
        """Moves a draft to the path of its hash."""
        path = self.object_path(sha256)
        path.parent.mkdir(exist_ok=True)
        draft.replace(path)
        fsync_folder(path.parent)

    def fetch(self, sha256: str, target: Path) -> Path:
        """Returns the path of the file with a hash; `target` is not written."""
        return self.object_path(sha256)

    def remove_unused(self, used: set[str]) -> None:
        """Removes bytes that no list has."""
        for path in self.objects.rglob("*"):
            if path.is_file() and path.name not in used:
                path.unlink()

    def object_path(self, sha256: str) -> Path:
        """The path of the file with a hash."""
        return self.objects / sha256[:2] / sha256

    def _list_path(self, name: str) -> Path:
        return self.lists / f"{name}.json"


class ObjectStorage:
    """Backups in an object store. Several processes may write: bytes have their hash as name."""

    def __init__(self, url: str) -> None:
        self.location = url
        self._folder = ObjectFolder(url, "backups", BackupError)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks nothing: object stores have no locks, and bytes are named by their hash."""
        yield

    def drafts(self) -> Path:
        """The machine's folder of temporary files."""
        return Path(tempfile.gettempdir())

    def names(self) -> list[str]:
        """Names of the lists of backups."""
        listed = self._folder.list(LISTS)
        return [Path(name).stem for name in listed if name.endswith(".json")]

    def read_list(self, name: str) -> str:
        """The text of a list."""
        with tempfile.TemporaryDirectory() as drafts:
            path = Path(drafts) / "list"
            if not self._folder.download(self._list_name(name), path):
                raise FileNotFoundError(name)
            return path.read_text(encoding="utf-8")

    def write_list(self, name: str, text: str) -> None:
        """Writes a list, whole or not at all."""
        with tempfile.TemporaryDirectory() as drafts:
            path = Path(drafts) / "list"
            path.write_text(text, encoding="utf-8")
            self._folder.upload(path, self._list_name(name))

    def remove_list(self, name: str) -> None:
        """Removes the list of a backup."""
        self._folder.delete(self._list_name(name))

    def has(self, sha256: str, size: int | None = None) -> bool:
        """Returns whether there are bytes with a hash, and with a size where one is given."""
        known = self._sizes.get(sha256)
        return known is not None and size in (None, known)

    def add(self, draft: Path, sha256: str) -> None:
        """Uploads a draft under the name of its hash."""
        self._folder.upload(draft, f"{OBJECTS}/{sha256[:2]}/{sha256}")
        self._sizes[sha256] = draft.stat().st_size

    def fetch(self, sha256: str, target: Path) -> Path:
        """Downloads the bytes with a hash to `target`."""
        if not self._folder.download(f"{OBJECTS}/{sha256[:2]}/{sha256}", target):
            raise FileNotFoundError(sha256)
        return target

    def remove_unused(self, used: set[str]) -> None:
        """Removes bytes that no list has, and that are a day old."""
        before = dt.datetime.now(dt.UTC) - REMOVED_AFTER
        for name, info in self._folder.list(OBJECTS).items():
            if Path(name).name not in used and info.modified < before:
                self._folder.delete(name)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Sizes of the bytes by hash, as of when they were listed first."""
        return {Path(name).name: info.size for name, info in self._folder.list(OBJECTS).items()}

    @staticmethod
    def _list_name(name: str) -> str:
        return f"{LISTS}/{name}.json"
