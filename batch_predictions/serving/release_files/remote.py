"""Release files in an object store: the exporter uploads them, serving machines download them.

An object is whole or not there. The file is uploaded before its manifest, so that a manifest names
a file that is there; it is removed after its manifest. A machine keeps the newest two in a folder,
verified, with the names that they have in the store.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from batch_predictions.core import object_store
from batch_predictions.core.durability import fsync_folder
from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.object_store import ObjectFolder
from batch_predictions.serving.release_files.folder import (
    DRAFT_PREFIX,
    FILE_SUFFIX,
    MANIFEST_SUFFIX,
    ReleaseFileError,
    ReleaseFileManifest,
    list_manifests,
    number_of,
    read_manifest,
    remove_export,
    verify_bytes,
)

LOCK_NAME = ".download.lock"
KEPT_FILES = 2
_PARQUET = re.compile(r"\d{4}-\d\d-\d\d-[0-9a-f]+/([^/]+\.parquet|manifest\.json)")


class RemoteFolderError(ReleaseFileError):
    """The object store cannot be reached, or refuses; the message has no credentials."""


@dataclass(frozen=True)
class Download:
    """The damaged exports that a download has found.

    Attributes:
        refused: newer exports than the newest complete one, that are damaged.
        problem: the newest of these in words; empty: none.
    """

    refused: int = 0
    problem: str = ""


def local_folder(location: str) -> Path | None:
    """The folder that a location names, as a path or a URL file://; None: an object store.

    Raises:
        ReleaseFileError: the URL has an unknown scheme, or a user, a password or a query.
    """
    return object_store.local_folder(location, "release files", ReleaseFileError)


class RemoteFolder:
    """The release files below a URL of an object store."""

    def __init__(self, url: str) -> None:
        """Takes the URL of the folder, such as s3://bucket/releases."""
        self.url = url
        self._objects = ObjectFolder(url, "release files", RemoteFolderError)

    def names(self) -> dict[str, int]:
        """Names of the objects, and their sizes in bytes.

        Raises:
            RemoteFolderError: the store cannot be reached.
        """
        return {name: info.size for name, info in self._objects.list().items() if "/" not in name}

    def manifest_names(self) -> list[str]:
        """Names of the manifests, the newest export first."""
        return sorted(filter(_is_manifest, self.names()), reverse=True)

    def upload(self, path: Path, name: str | None = None) -> None:
        """Uploads a file, whole or not at all."""
        self._objects.upload(path, name or path.name)

    def upload_export(self, manifest_path: Path) -> None:
        """Uploads a file, then its manifest."""
        self.upload(manifest_path.with_suffix(FILE_SUFFIX))
        self.upload(manifest_path)

    def remove_export(self, manifest_name: str) -> None:
        """Removes a manifest, then its file."""
        self._objects.delete(manifest_name)
        file = manifest_name.removesuffix(MANIFEST_SUFFIX) + FILE_SUFFIX
        if file in self.names():
            self._objects.delete(file)

    def remove_parquet_exports(self) -> int:
        """Removes releases that were exported as Parquet files. Returns their number."""
        listed = list(self._objects.list())
        releases = {
            name.split("/")[0]
            for name in listed
            if _PARQUET.fullmatch(name) and name.endswith(MANIFEST_SUFFIX)
        }
        for name in sorted(listed, key=lambda name: not name.endswith(MANIFEST_SUFFIX)):
            if _PARQUET.fullmatch(name):
                self._objects.delete(name)
        return len(releases)

    def remove_incomplete(self) -> None:
        """Removes files without a manifest, which killed exporters have left."""
        names = self.names()
        for name in names:
            manifest = name.removesuffix(FILE_SUFFIX) + MANIFEST_SUFFIX
            if name.endswith(FILE_SUFFIX) and number_of(name) and manifest not in names:
                self._objects.delete(name)

    def download_manifests(self, folder: Path) -> None:
        """Downloads all manifests to a folder."""
        for name in self.manifest_names():
            self.download_object(name, folder / name)

    def has_file(self, manifest: ReleaseFileManifest) -> bool:
        """Returns whether the store has the file of a manifest, with its size."""
        return self.names().get(manifest.file) == manifest.bytes

    def download(self, folder: Path) -> Download | None:
        """Brings the newest complete export to a folder, and keeps the newest two there.

        Files of the folder whose manifests are no more in the store are removed.

        Args:
            folder: on this machine; several processes may share it.

        Returns:
            What was found; None: another process downloads to the folder now.

        Raises:
            RemoteFolderError: the store cannot be reached.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with file_lock(folder / LOCK_NAME, wait=False):
                return self._download(folder)
        except BlockingIOError:
            return None

    def _download(self, folder: Path) -> Download:
        for draft in folder.glob(f"{DRAFT_PREFIX}*"):
            shutil.rmtree(draft)  # By the lock, whoever wrote it is dead.
        names = self.manifest_names()
        problems: list[str] = []
        for name in names:
            try:
                self._ensure_export(name, folder)
                break
            except RemoteFolderError:
                raise
            except ReleaseFileError as error:
                problems.append(str(error))
        listed = set(names)
        kept = [path for path in list_manifests(folder) if path.name in listed][:KEPT_FILES]
        # An empty store is more likely a wrong URL than a wish to serve nothing.
        for path in list_manifests(folder) if listed else ():
            if path not in kept:
                remove_export(path)
        return Download(len(problems), problems[0] if problems else "")

    def _ensure_export(self, name: str, folder: Path) -> None:
        """Downloads an export unless the folder has it."""
        target = folder / name
        if target.exists():
            manifest = read_manifest(target)
            file = folder / manifest.file
            if file.exists() and file.stat().st_size == manifest.bytes:
                return
        # A manifest is read under its own name.
        with tempfile.TemporaryDirectory(prefix=DRAFT_PREFIX, dir=folder) as drafts:
            manifest_draft, draft = Path(drafts) / name, Path(drafts) / "file"
            self.download_object(name, manifest_draft)
            manifest = read_manifest(manifest_draft)
            self.download_object(manifest.file, draft)
            verify_bytes(draft, manifest)
            draft.replace(folder / manifest.file)
            fsync_folder(folder)
            manifest_draft.replace(target)
            fsync_folder(folder)

    def download_object(self, name: str, path: Path) -> None:
        """Downloads an object to a new file, and fsyncs it.

        Raises:
            ReleaseFileError: there is no such object.
            RemoteFolderError: the store cannot be reached.
        """
        if not self._objects.download(name, path):
            raise ReleaseFileError(f"{name} is missing beside its manifest: export again")


def _is_manifest(name: str) -> bool:
    return name.endswith(MANIFEST_SUFFIX) and number_of(name) is not None
