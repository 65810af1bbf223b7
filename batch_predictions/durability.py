"""Fsync of whole folders, so that a name that survives a power cut has its bytes."""

from __future__ import annotations

import os
from pathlib import Path

from batch_predictions.home import fsync_folder


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
