"""A release file that is open for reading."""

from __future__ import annotations

import threading
from pathlib import Path

from batch_predictions.core.database import open_release_file
from batch_predictions.serving.release_files.folder import ReleaseFileError, ReleaseFileManifest
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
            raise ReleaseFileError(f"{path.name} is not the release that its manifest names")

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
