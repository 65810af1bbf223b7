"""Lists the files of a folder: a night asks for the same folders dozens of times."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from batch_predictions.sources.base import SourceError

MAX_AGE_NS = 10 * 10**9
"""How long a list is used again. Some network folders keep their time when a file is added."""
RACY_NS = 2 * 10**9
"""A folder that changed so shortly before it was listed may change again at the same time."""


@dataclass
class _Listing:
    """The files of a folder.

    Attributes:
        listed_at: ns since the epoch, before the first folder was read.
        folders: time of the last change of each folder in it, before it was read.
        files: the files, by name.
        is_reusable: whether the times of the folders tell every change.
    """

    listed_at: int
    folders: dict[str, int] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    is_reusable: bool = True

    def is_current(self) -> bool:
        """Returns whether the folder has the same files now."""
        age = time.time_ns() - self.listed_at
        return 0 <= age < MAX_AGE_NS and all(
            _changed_at(name) == at for name, at in self.folders.items()
        )

    def walk(self, folder: str) -> Iterator[str]:
        """Visible files, in any order. No `Path` of each, which takes most of the time."""
        try:
            changed_at = Path(folder).stat().st_mtime_ns
            with os.scandir(folder) as found:
                entries = list(found)
        except FileNotFoundError:
            return  # removed meanwhile
        except OSError as error:
            raise SourceError(f"{folder} cannot be read: {error.strerror}") from error
        self.folders[folder] = changed_at
        self.is_reusable &= changed_at < self.listed_at - RACY_NS
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self.walk(entry.path)
            elif _is_file(entry):
                # What a link leads to may be removed elsewhere.
                self.is_reusable &= not entry.is_symlink()
                yield entry.path


_listings: dict[str, _Listing] = {}


def list_files(folder: Path) -> tuple[Path, ...]:
    """Files of a folder and of those in it, by name; not hidden ones, nor Spark's `_temporary`.

    Raises:
        SourceError: a folder cannot be read.
    """
    name = str(folder)
    listing = _listings.get(name)
    if listing is None or not listing.is_current():
        listing = _Listing(time.time_ns())
        listing.files = tuple(sorted(map(Path, listing.walk(name))))
        _listings.pop(name, None)
        if listing.is_reusable:
            _listings[name] = listing
    return listing.files


def refuse_outside(folder: Path, paths: Iterable[Path]) -> None:
    """Checks that no link between a folder and its files leads to a folder outside.

    Args:
        folder: the source's folder.
        paths: files below it.

    Raises:
        SourceError: a folder is a link to one that is not below the source's.
    """
    root = os.path.realpath(folder)
    for parent in {path.parent for path in paths}:
        real = os.path.realpath(parent)
        if real != root and not real.startswith(f"{root}{os.sep}"):
            raise SourceError(
                f"{parent.relative_to(folder)} is a link out of {folder}: move its files there, or "
                "set source.path to a folder that has all"
            )


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError as error:
        raise SourceError(f"{entry.path} cannot be read: {error.strerror}; remove it") from error


def is_hidden(name: str) -> bool:
    """Returns whether a file is hidden, or one of those that Spark writes beside its files."""
    return name[0] in "._"


def _changed_at(folder: str) -> int | None:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return None
