"""Lookups from release files: the newest complete one of a folder is served.

A service looks into the folder every few seconds. It verifies a new file, opens it, and only then
serves it; lookups that have begun end on the file before, which stays open for pages. A file that
is damaged or not complete is refused with a line in the log, and the older one goes on serving.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from batch_predictions.core.read_only import StoreError
from batch_predictions.serving.release_files.folder import (
    ReleaseFileError,
    describe_refusal,
    list_manifests,
    read_manifest,
    state_of,
    verify_bytes,
)
from batch_predictions.serving.release_files.open_file import (
    OpenReleaseFile,
    copy_file,
    remove_old_copies,
)
from batch_predictions.serving.release_files.remote import Download, RemoteFolder
from batch_predictions.serving.store.pointer import (
    NoReleaseError,
    Release,
    ReleaseRemovedError,
    all_releases,
)
from batch_predictions.serving.store.snapshot import RunStatement, ServedRelease
from batch_predictions.settings import IdRule

T = TypeVar("T")
OPEN_FILES = 2
POLL_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderStatus:
    """The state of the folder of release files when it was last examined.

    Attributes:
        is_readable: whether the folder could be listed.
        refused: newer exports than the served one that cannot be used.
        problem: the newest of these in words, without the folder's path; empty: none.
    """

    is_readable: bool = True
    refused: int = 0
    problem: str = ""


@dataclass(frozen=True)
class _Refusal:
    """The reason why a file is not served, and its state then; None: it is tried again."""

    problem: str
    state: tuple[object, ...] | None


class ReleaseFiles:
    """A folder of release files as a source of lookups, for any number of threads."""

    is_file = True

    def __init__(
        self,
        folder: Path,
        *,
        remote: RemoteFolder | None = None,
        copy_to: Path | None = None,
        poll_seconds: float | None = POLL_SECONDS,
    ) -> None:
        """Opens the newest complete file; there need be none yet.

        Args:
            folder: that of the exports; with `remote`, that of their copies on this machine.
            remote: the object store of the exports.
            copy_to: a folder on a local disk: files are copied there before they are opened, and
                are served from there where `folder` cannot be read. Workers may share it.
            poll_seconds: how often a thread looks for a newer file; None: only `look` does.
        """
        self.folder, self._copies, self._remote = folder, copy_to, remote
        self._open: tuple[OpenReleaseFile, ...] = ()
        self._looking = threading.Lock()
        self._refused: dict[str, _Refusal] = {}
        self.status = FolderStatus()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.look()
        if poll_seconds is not None:
            self._thread = threading.Thread(
                target=self._follow, args=(poll_seconds,), name="release-files", daemon=True
            )
            self._thread.start()

    def __enter__(self) -> ReleaseFiles:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def timezone(self) -> str | None:
        """The source's time zone; None before the first file."""
        return self._open[0].manifest.timezone if self._open else None

    @property
    def ids(self) -> Mapping[str, IdRule] | None:
        """Rules of the source's ids by column; None before the first file."""
        return self._open[0].manifest.ids if self._open else None

    def read(
        self, query: Callable[[sa.Connection, ServedRelease], T], release_id: str | None = None
    ) -> T:
        """The result of a query in the newest file, or in the open one of a release.

        Raises:
            NoReleaseError: there is no complete file yet.
            ReleaseRemovedError: the release's file is not open (any more).
        """
        with self._lease(release_id) as file:
            return file.store.read(lambda db, served: query(db, file.numbered(served)))

    def read_rows(self, query: Callable[[RunStatement, ServedRelease], T]) -> T:
        """Runs a frequent query in the newest file, on the driver's own connection."""
        with self._lease() as file:
            return file.store.read_rows(lambda run, served: query(run, file.numbered(served)))

    def releases(self) -> list[Release]:
        """The releases of the open files, the served one first."""
        try:
            return self.read(lambda db, _: all_releases(db))
        except NoReleaseError:
            return []

    def close(self) -> None:
        """Ends the thread and closes the files, after the reads that have begun."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._looking:
            retired, self._open = self._open, ()
        for file in retired:
            file.retire()

    def look(self) -> None:
        """Serves the newest complete file of the folder if it is not served yet."""
        with self._looking:
            if self._stop.is_set():
                return
            download = self._download()
            manifests, is_readable = self._list()
            self._serve_newest(manifests)
            self._forget_removed(manifests, is_readable)
            problem = next((refusal.problem for refusal in self._refused.values()), "")
            self.status = FolderStatus(
                is_readable and download is not None,
                len(self._refused) + (download.refused if download else 0),
                problem or (download.problem if download else ""),
            )

    def _download(self) -> Download | None:
        """Brings the newest file of the object store; None: it cannot be reached."""
        if self._remote is None:
            return Download()
        try:
            download = self._remote.download(self.folder)
        except (ReleaseFileError, OSError) as error:
            if self.status.is_readable:
                _log.error("release files cannot be downloaded: %s", error)
            return None
        if download is None:
            # Another worker downloads: what it has found is in its own status.
            return Download()
        if download.problem and download.problem != self.status.problem:
            _log.error("a release file is refused: %s", download.problem)
        return download

    @contextmanager
    def _lease(self, release_id: str | None = None) -> Iterator[OpenReleaseFile]:
        while True:
            file = self._find(release_id)
            # Retired in between: another file is served now.
            if file.lease():
                break
        try:
            yield file
        finally:
            file.release()

    def _find(self, release_id: str | None) -> OpenReleaseFile:
        files = self._open
        if not files:
            command = f"batch-predictions releases export --to {self.folder}"
            raise NoReleaseError(f"the folder {self.folder}", command)
        if release_id is None:
            return files[0]
        for file in files:
            if file.manifest.release_id == release_id:
                return file
        raise ReleaseRemovedError(
            f"release {release_id} is in none of the folder's files (any more)"
        )

    def _follow(self, poll_seconds: float) -> None:
        while not self._stop.wait(poll_seconds):
            try:
                self.look()
            except Exception:
                # The thread goes on whatever happens: files are served as they are.
                _log.exception("the folder of release files cannot be followed")

    def _list(self) -> tuple[list[Path], bool]:
        """The manifests, newest first, and whether the folder could be listed."""
        try:
            manifests = list_manifests(self.folder)
        except OSError as error:
            if self.status.is_readable:
                _log.error("the folder of release files cannot be read: %s", error.strerror)
            return (list_manifests(self._copies) if self._copies else []), False
        if not manifests and self._copies and not self._open:
            # A mount that is missing looks like an empty folder.
            return list_manifests(self._copies), True
        return manifests, True

    def _serve_newest(self, manifests: list[Path]) -> None:
        """Opens the newest file that can be used; newer ones that cannot are refused."""
        served = self._open[0].manifest.name if self._open else None
        refused: dict[str, _Refusal] = {}
        for path in manifests:
            if path.name == served:
                break
            refusal = self._try_to_serve(path)
            if refusal is None and path.exists():
                break
            if refusal is not None:
                refused[path.name] = refusal
        self._refused = refused

    def _try_to_serve(self, path: Path) -> _Refusal | None:
        """Opens a file and serves it, unless it is refused."""
        state, before = state_of(path), self._refused.get(path.name)
        if before is not None and before.state == state:
            return before  # It is as it was: not hashed again.
        try:
            opened = self._open_file(path)
        except (ReleaseFileError, StoreError, OSError, sa.exc.SQLAlchemyError) as error:
            if not path.exists():
                return None  # The exporter has just removed it.
            problem = describe_refusal(path, error)
            if before is None or before.problem != problem:
                _log.error("a release file is refused: %s", problem)
            # What the machine cannot do now may work later, with the same file.
            return _Refusal(problem, state if isinstance(error, ReleaseFileError) else None)
        replaced, self._open = self._open[OPEN_FILES - 1 :], (opened, *self._open)[:OPEN_FILES]
        _log.info("serving the release file %s", opened.manifest.file)
        for file in replaced:
            file.retire()
        return None

    def _forget_removed(self, manifests: list[Path], is_readable: bool) -> None:
        """Closes files that the exporter has removed, and removes copies that are not served.

        The exporter removes old files, and replaces those from which a user was erased. Where the
        served file is not listed itself, the folder is not there, and everything stays.
        """
        names = {path.name for path in manifests}
        if not self._open or not is_readable or self._open[0].manifest.name not in names:
            return
        kept = tuple(file for file in self._open if file.manifest.name in names)
        retired = [file for file in self._open if file not in kept]
        self._open = kept
        for file in retired:
            file.retire()
        if self._copies:
            remove_old_copies(self._copies, names, self._open[-1].manifest.number)

    def _open_file(self, manifest_path: Path) -> OpenReleaseFile:
        """Verifies and opens a file, from a local copy if there is a folder for them."""
        manifest = read_manifest(manifest_path)
        path = manifest_path.with_name(manifest.file)
        if self._copies:
            path = copy_file(manifest, manifest_path, self._copies)
        else:
            verify_bytes(path, manifest)
        try:
            return OpenReleaseFile(path, manifest)
        except sqlite3.OperationalError as error:
            raise FileNotFoundError(str(error)) from error
