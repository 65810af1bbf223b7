"""Keeps what a training computes and the next one needs again.

An entry's key is a hash of everything that it is computed from: rows, parameters, the code of this
package and of plugins, and the versions of the libraries. So an entry is what would be computed.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from batch_predictions.core.file_hashes import hash_files
from batch_predictions.models.common.content_hash import code_hash, content_hash

Entry = TypeVar("Entry")

FOLDER = "training_cache"
"""In a home. It may be deleted: the next training takes longer."""
_HASHES = "hashes.json"

logger = logging.getLogger(__name__)


class TrainingCache:
    """Entries of one model's trainings, in memory and in a folder.

    Args:
        folder: has a folder per entry, with the hashes of its files; None: only in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._entries: dict[str, Any] = {}
        self._used: set[str] = set()

    def key(self, kind: str, inputs: Iterable[object]) -> str:
        """Computes the key under which an entry is stored: a hash of its inputs and of the code.

        Args:
            kind: what it is, such as generators.
            inputs: everything that it is computed from, as `content_hash` takes it.
        """
        return f"{kind}-{content_hash([*inputs, code_hash()])}"

    def get(
        self, key: str, load: Callable[[Path], Entry], *, mark_used: bool = True
    ) -> Entry | None:
        """Returns the entry of a key; None where there is none, or its files are damaged.

        Args:
            key: of the entry.
            load: reads the folder of the entry.
            mark_used: whether `remove_unused` keeps it.
        """
        if key not in self._entries:
            folder = self._intact_folder(key)
            if folder is None:
                return None
            try:
                self._entries[key] = load(folder)
            except (OSError, ValueError, KeyError, TypeError) as error:
                logger.warning("%s cannot be read and is computed again: %s", folder, error)
                return None
        if mark_used:
            self._used.add(key)
        entry: Entry = self._entries[key]
        return entry

    def put(self, key: str, entry: Entry, save: Callable[[Entry, Path], None]) -> Entry:
        """Adds an entry. If its files cannot be written, the next training computes it again.

        Args:
            key: of the entry.
            entry: what was computed.
            save: writes the entry into a folder.
        """
        self._entries[key] = entry
        self._used.add(key)
        if self._folder is not None:
            try:
                self._write(self._folder / key, entry, save)
            except OSError as error:
                logger.warning("%s is not kept for the next training: %s", key, error)
        return entry

    def mark_all_unused(self) -> None:
        """Makes `remove_unused` keep only the entries that are used from now on."""
        self._used.clear()

    def remove_unused(self) -> None:
        """Removes the folders of entries that were not used, and unfinished folders."""
        if self._folder is None or not self._folder.is_dir():
            return
        for folder in self._folder.iterdir():
            if folder.name not in self._used:
                shutil.rmtree(folder, ignore_errors=True)

    def _intact_folder(self, key: str) -> Path | None:
        if self._folder is None:
            return None
        folder = self._folder / key
        try:
            written = json.loads((folder / _HASHES).read_text(encoding="utf-8"))
            hashes = hash_files(folder)
        except (OSError, ValueError):
            return None
        hashes.pop(_HASHES, None)
        return folder if hashes == written else None

    def _write(self, target: Path, entry: Entry, save: Callable[[Entry, Path], None]) -> None:
        draft = target.with_name(f".draft-{os.getpid()}-{uuid.uuid4().hex}")
        draft.mkdir(parents=True)
        try:
            save(entry, draft)
            (draft / _HASHES).write_text(json.dumps(hash_files(draft)), encoding="utf-8")
            # A damaged one; no fsync, for an entry is read only if its files have their hashes.
            shutil.rmtree(target, ignore_errors=True)
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
