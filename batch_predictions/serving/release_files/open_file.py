"""Release files that are open for reading.

They are read from copies on the local disk of a serving machine, which its workers share.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from batch_predictions.core.database import open_release_file
from batch_predictions.core.durability import fsync_folder, write_and_fsync
from batch_predictions.core.file_lock import file_lock
from batch_predictions.serving.release_files.folder import (
    DRAFT_PREFIX,
    FILE_SUFFIX,
    ReleaseFileError,
    ReleaseFileManifest,
    list_manifests,
    new_draft,
    number_of,
    verify_bytes,
)
from batch_predictions.serving.store.snapshot import ReadStore, ServedRelease

CONNECTIONS = 10
"""Of each open file: one per reading thread of the service, and the event loop's."""


class OpenReleaseFile:
    """A verified file, open for reading; it closes when it is retired and the last read ends."""

    def __init__(self, path: Path, manifest: ReleaseFileManifest) -> None:
        """Opens a verified release file for reading.

        Raises:
            ReleaseFileError: it is not the release that its manifest names.
        """
        self.manifest = manifest
        url = f"sqlite:///{path.absolute()}"
        self.store = ReadStore(url, open_release_file(path, CONNECTIONS))
        self._lock = threading.Lock()
        self._readers, self._is_retired = 0, False
        served = self.store.read(lambda _, served: served)
        rows = {name: table["rows"] for name, table in served.tables.items()}
        if served.release_id != manifest.release_id or rows != {
            name: table.rows for name, table in manifest.tables.items()
        }:
            self.store.close()
            raise ReleaseFileError(
                f"{path.name} is not the release that its manifest names: export again"
            )

    def lease(self) -> bool:
        """Keeps the file open until `release`; False: it has been retired."""
        with self._lock:
            if self._is_retired:
                return False
            self._readers += 1
        return True

    def release(self) -> None:
        """Ends a lease; the last one of a retired file closes it."""
        with self._lock:
            self._readers -= 1
            is_last = self._is_retired and not self._readers
        if is_last:
            self.store.close()

    def retire(self) -> None:
        """Closes the file as soon as nobody reads it."""
        with self._lock:
            self._is_retired = True
            is_unused = not self._readers
        if is_unused:
            self.store.close()

    def numbered(self, served: ServedRelease) -> ServedRelease:
        """Gives a release the export's number as its version: a later export has a higher one."""
        return served._replace(version=self.manifest.number)


def copy_file(manifest: ReleaseFileManifest, manifest_path: Path, folder: Path) -> Path:
    """The verified local copy of a file, which is made if it is missing.

    Raises:
        ReleaseFileError: the file is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / manifest.file
    _remove_dead_drafts(folder)
    try:
        verify_bytes(copy, manifest)
    except (FileNotFoundError, ReleaseFileError):
        with _locked_draft(folder) as draft:
            shutil.copyfile(manifest_path.with_name(manifest.file), draft)
            verify_bytes(draft, manifest)
            draft.replace(copy)
        fsync_folder(folder)
    if not (folder / manifest.name).exists():
        with _locked_draft(folder) as draft:
            write_and_fsync(draft, manifest.model_dump_json())
            draft.replace(folder / manifest.name)
        fsync_folder(folder)
    return copy


@contextmanager
def _locked_draft(folder: Path) -> Iterator[Path]:
    """A new file, locked until it is renamed or removed; without its lock, its process is dead."""
    draft = new_draft(folder)
    with file_lock(draft):
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)


def _remove_dead_drafts(folder: Path) -> None:
    """Removes what killed processes have left of copies."""
    for draft in folder.glob(f"{DRAFT_PREFIX}*"):
        with suppress(OSError), file_lock(draft, wait=False):
            draft.unlink()


def remove_old_copies(folder: Path, listed: set[str], oldest: int) -> None:
    """Removes copies that are older than the open files, or that the exporter has removed."""
    for path in list_manifests(folder):
        if path.name not in listed or (number_of(path.name) or 0) < oldest:
            path.unlink(missing_ok=True)
            path.with_suffix(FILE_SUFFIX).unlink(missing_ok=True)
