"""Writes that a power cut leaves whole: a name that survives it has its bytes."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT)
_FULL_DISK_WORDS = (*map(os.strerror, DISK_ERRORS), "database or disk is full")
_NUMPY_WROTE_LESS = re.compile(r"\d+ requested and \d+ written")
"""NumPy's error where the disk took fewer bytes, which has no number."""


def is_about_full_disk(message: str) -> bool:
    """Returns whether an error's text says that a disk is full; no more is left of a step's."""
    return any(words in message for words in _FULL_DISK_WORDS) or bool(
        _NUMPY_WROTE_LESS.search(message)
    )


def write_and_fsync(path: Path, text: str) -> None:
    """Writes a text file and fsyncs it."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def atomic_write(path: Path, text: str) -> None:
    """Replaces a text file atomically."""
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    write_and_fsync(draft, text)
    draft.replace(path)
    fsync_folder(path.parent)


def rename_if_absent(draft: Path, target: Path) -> None:
    """Renames a finished folder, unless the target exists (and then has equal content)."""
    try:
        draft.replace(target)
    except OSError:
        # The target is not empty: another process was faster.
        if not target.is_dir():
            raise


_hooks: list[Callable[[Path], None]] = []


def on_durable(hook: Callable[[Path], None]) -> None:
    """Has a function called with every folder whose names are to survive, once they are fsynced.

    A home in a bucket uploads them: a disk of this machine does not keep them for others.
    """
    _hooks.append(hook)


def fsync_folder(folder: Path) -> None:
    """Fsyncs a folder, so that renames in it survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    for hook in _hooks:
        hook(folder)


def fsync_tree(folder: Path) -> None:
    """Fsyncs all files and folders of a finished folder, before it gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            fsync_folder(path)
    fsync_folder(folder)


def fsync_ancestors(folder: Path, root: Path) -> None:
    """Fsyncs a folder and those above it up to `root`: their names, if they are new, survive too.

    Args:
        folder: a folder below `root`.
        root: a folder that is fsynced last.
    """
    while folder != root:
        fsync_folder(folder)
        folder = folder.parent
    fsync_folder(root)
