"""Backups: every file's bytes once, by their SHA-256, and for each backup a list of its files.

A list is written after all its bytes, so that a backup is there whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from batch_predictions.core.relative_paths import RelativePath
from batch_predictions.operations.backup.storage import BackupError, BackupStorage

VERSION = 1
BLOCK_BYTES = 1 << 20


class BackupFile(BaseModel):
    """A file of a backup.

    Attributes:
        path: relative to the home, with slashes.
        size: bytes.
        mtime_ns: when it was last changed, nanoseconds since 1970.
        sha256: of its bytes.
    """

    model_config = ConfigDict(frozen=True)

    path: RelativePath
    size: int = Field(ge=0)
    mtime_ns: int = Field(ge=-(1 << 63), lt=1 << 63)
    sha256: Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]


class Backup(BaseModel):
    """A backup of a home: its time and the list of its files.

    Attributes:
        name: when it was begun, UTC, such as 2026-11-27T051000Z.
        home: path of the home.
        files: all its files, by path.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    home: str
    files: list[BackupFile]

    def validate_paths(self) -> None:
        """Checks that the files can be in one folder.

        Raises:
            ValueError: two files have one path, or a file has the path of another's folder.
        """
        paths = {file.path for file in self.files}
        folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
        if len(paths) < len(self.files) or paths & folders:
            raise ValueError("two files have one path")

    @property
    def size(self) -> int:
        """Bytes of all files of the backup."""
        return sum(file.size for file in self.files)


class _NoFileError(Exception):
    """A path is a link, a device or another thing that is no file."""


def _open_regular(path: Path) -> BinaryIO:
    """Opens a file to be read; a link is not followed, and a device or a FIFO is not waited for."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _NoFileError from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _NoFileError
    return os.fdopen(handle, "rb")


class Pool:
    """The backups in a folder, or in an object store."""

    def __init__(self, storage: BackupStorage) -> None:
        self.storage = storage

    def names(self) -> list[str]:
        """Names of the backups, the newest first."""
        return sorted(self.storage.names(), reverse=True)

    def read(self, name: str | None = None) -> Backup:
        """Reads the list of a backup by name; None: the newest backup.

        Raises:
            BackupError: there is none of the name, or its list cannot be read.
        """
        names, location = self.names(), self.storage.location
        chosen = name or next(iter(names), None)
        if chosen is None or chosen not in names:
            known = f"there are {', '.join(names)}" if names else "there is none"
            raise BackupError(f"{location} has no backup {name or ''}: {known}")
        label = f"{chosen}.json of {location}"
        try:
            content = json.loads(self.storage.read_list(chosen))
            if content["version"] != VERSION:
                raise BackupError(
                    f"{label} is of version {content['version']}, and this program reads "
                    f"{VERSION}: install the version that wrote it"
                )
            backup = Backup(name=chosen, home=content["home"], files=content["files"])
            backup.validate_paths()
            return backup
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise BackupError(f"{label} cannot be read: choose another backup") from error

    def write(self, backup: Backup) -> None:
        """Adds a backup whose objects are all there."""
        files = [file.model_dump() for file in backup.files]
        content = {"version": VERSION, "home": backup.home, "files": files}
        self.storage.write_list(backup.name, json.dumps(content, indent=0))

    def add(self, source: BinaryIO) -> tuple[str, int]:
        """Adds bytes, unless they are there already.

        Returns:
            Their SHA-256 and their number.
        """
        draft = self.storage.drafts() / f".draft-{uuid.uuid4().hex}"
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
            if not self.storage.has(sha256, size):
                self.storage.add(draft, sha256)
        finally:
            draft.unlink(missing_ok=True)
        return sha256, size

    def copy_to(self, file: BackupFile, target: Path) -> None:
        """Writes a file's bytes to a path.

        Raises:
            BackupError: they are missing, are no file, or have another size or hash.
        """
        digest, size = hashlib.sha256(), 0
        draft = target.with_name(f".draft-{target.name}")
        try:
            source_path = self.storage.fetch(file.sha256, draft)
            with _open_regular(source_path) as source, target.open("wb") as copy:
                # A pool is what others may have written to: no more than was declared is read.
                while size <= file.size and (block := source.read(BLOCK_BYTES)):
                    digest.update(block)
                    copy.write(block)
                    size += len(block)
                copy.flush()
                os.fsync(copy.fileno())
        except FileNotFoundError:
            raise BackupError(
                f"the bytes of {file.path} are missing: choose another backup"
            ) from None
        except _NoFileError:
            size = -1
        finally:
            draft.unlink(missing_ok=True)
        if (size, digest.hexdigest()) != (file.size, file.sha256):
            raise BackupError(f"the bytes of {file.path} are damaged: choose another backup")
        os.utime(target, ns=(file.mtime_ns, file.mtime_ns))

    def remove_old(self, keep: int, log: Callable[[str], None] = lambda line: None) -> None:
        """Removes all backups but the newest, and bytes that no backup has.

        Args:
            keep: number of backups that stay, at least 1.
            log: called with a line for each that is removed.
        """
        for name in self.names()[keep:]:
            self.storage.remove_list(name)
            log(f"backup {name} removed")
        used = {file.sha256 for name in self.names() for file in self.read(name).files}
        self.storage.remove_unused(used)
