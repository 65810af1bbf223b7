"""A folder of backups: every file's bytes once, by their SHA-256, and a list of files per backup.

    objects/3f/3f9a…        the bytes of a file
    backups/2026-11-27T051000Z.json   what a home had: paths, sizes, times, hashes

A list is written after all its objects, so that a backup is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from batch_predictions.durability import atomic_write, fsync_folder
from batch_predictions.file_lock import file_lock

VERSION = 1
BLOCK_BYTES = 1 << 20


class BackupError(RuntimeError):
    """A folder has no such backup, or a file of it is missing or damaged."""


@dataclass(frozen=True)
class BackupFile:
    """A file of a backup.

    Attributes:
        path: relative to the home, with slashes.
        size: bytes.
        mtime_ns: when it was last changed, nanoseconds since 1970.
        sha256: of its bytes.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Backup:
    """A backup.

    Attributes:
        name: when it was begun, UTC, such as 2026-11-27T051000Z.
        home: path of the home.
        files: all its files, by path.
    """

    name: str
    home: str
    files: list[BackupFile]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.files)


class Pool:
    """The backups in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects, self.lists = folder / "objects", folder / "backups"

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

    def names(self) -> list[str]:
        """Names of the backups, the newest first."""
        return sorted((path.stem for path in self.lists.glob("*.json")), reverse=True)

    def read(self, name: str | None = None) -> Backup:
        """A backup; None: the newest.

        Raises:
            BackupError: there is none of the name, or its list cannot be read.
        """
        names = self.names()
        chosen = name or next(iter(names), None)
        if chosen is None or chosen not in names:
            known = f"there are {', '.join(names)}" if names else "there is none"
            raise BackupError(f"{self.folder} has no backup {name or ''}: {known}")
        path = self.lists / f"{chosen}.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != VERSION:
                raise BackupError(
                    f"{path} is of version {content['version']}, and this program reads {VERSION}: "
                    "install the version that wrote it"
                )
            files = [BackupFile(**file) for file in content["files"]]
            return Backup(chosen, content["home"], files)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackupError(f"{path} cannot be read: choose another backup") from error

    def write(self, backup: Backup) -> None:
        """Adds a backup whose objects are all there."""
        content = {"version": VERSION, "home": backup.home, "files": [*map(asdict, backup.files)]}
        atomic_write(self.lists / f"{backup.name}.json", json.dumps(content, indent=0))

    def object_path(self, sha256: str) -> Path:
        """Where the bytes with a hash are."""
        return self.objects / sha256[:2] / sha256

    def add(self, source: BinaryIO) -> tuple[str, int]:
        """Adds bytes, unless they are there already.

        Returns:
            Their SHA-256 and their number.
        """
        draft = self.objects / f".draft-{uuid.uuid4().hex}"
        digest, size = hashlib.sha256(), 0
        try:
            with draft.open("wb") as target:
                while block := source.read(BLOCK_BYTES):
                    digest.update(block)
                    target.write(block)
                    size += len(block)
                target.flush()
                os.fsync(target.fileno())
            sha256 = digest.hexdigest()
            path = self.object_path(sha256)
            if not path.exists() or path.stat().st_size != size:
                path.parent.mkdir(exist_ok=True)
                draft.replace(path)
                fsync_folder(path.parent)
        finally:
            draft.unlink(missing_ok=True)
        return sha256, size

    def copy_to(self, file: BackupFile, target: Path) -> None:
        """Writes a file's bytes to a path.

        Raises:
            BackupError: they are missing, or have another hash.
        """
        digest = hashlib.sha256()
        try:
            with self.object_path(file.sha256).open("rb") as source, target.open("wb") as copy:
                while block := source.read(BLOCK_BYTES):
                    digest.update(block)
                    copy.write(block)
                copy.flush()
                os.fsync(copy.fileno())
        except FileNotFoundError:
            raise BackupError(
                f"the bytes of {file.path} are missing: choose another backup"
            ) from None
        if digest.hexdigest() != file.sha256:
            raise BackupError(f"the bytes of {file.path} are damaged: choose another backup")
        os.utime(target, ns=(file.mtime_ns, file.mtime_ns))

    def remove_old(self, keep: int, log: Callable[[str], None] = lambda line: None) -> None:
        """Removes all backups but the newest, and bytes that no backup has.

        Args:
            keep: number of backups that stay, at least 1.
            log: called with a line for each that is removed.
        """
        for name in self.names()[keep:]:
            (self.lists / f"{name}.json").unlink()
            log(f"backup {name} removed")
        used = {file.sha256 for name in self.names() for file in self.read(name).files}
        for path in self.objects.rglob("*"):
            if path.is_file() and path.name not in used:
                path.unlink()
