"""Release files in an object store: the exporter uploads them, serving machines download them.

An object is whole or not there. The file is uploaded before its manifest, so that a manifest names
a file that is there; it is removed after its manifest. A machine keeps the newest two in a folder,
verified, with the names that they have in the store.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batch_predictions.durability import fsync_folder
from batch_predictions.file_lock import file_lock
from batch_predictions.object_store import open_object_store, without_credentials
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

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")
LOCK_NAME = ".download.lock"
KEPT_FILES = 2
_CHUNK_BYTES = 8 << 20
_PARQUET = re.compile(r"\d{4}-\d\d-\d\d-[0-9a-f]+/([^/]+\.parquet|manifest\.json)")


class RemoteFolderError(ReleaseFileError):
    """The object store cannot be reached, or refuses; the message has no credentials."""


@dataclass(frozen=True)
class Download:
    """What a download has found.

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
    if "://" not in location:
        return Path(location)
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.path and not parts.netloc:
        return Path(parts.path)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise ReleaseFileError(
            f"release files cannot be at a URL {parts.scheme}://…: write a folder, file:///FOLDER, "
            f"or {', '.join(f'{scheme}://BUCKET/PREFIX' for scheme in SCHEMES)}"
        )
    if "@" in parts.netloc or parts.query:
        raise ReleaseFileError(
            "the URL of release files has a user name, a password or a query: remove it, and set "
            "credentials in the environment, such as AWS_ACCESS_KEY_ID"
        )
    return None


class RemoteFolder:
    """The release files below a URL of an object store."""

    def __init__(self, url: str) -> None:
        """Args: the URL, such as s3://bucket/releases."""
        self.url = url
        with self._explained("cannot be opened"):
            self._store: ObjectStore = open_object_store(url)

    def names(self) -> dict[str, int]:
        """Names of the objects, and their sizes in bytes.

        Raises:
            RemoteFolderError: the store cannot be reached.
        """
        import obstore

        with self._explained("cannot be listed"):
            listed = [meta for chunk in obstore.list(self._store) for meta in chunk]
        return {meta["path"]: meta["size"] for meta in listed if "/" not in meta["path"]}

    def manifest_names(self) -> list[str]:
        """Names of the manifests, the newest export first."""
        return sorted(filter(_is_manifest, self.names()), reverse=True)

    def upload(self, path: Path, name: str | None = None) -> None:
        """Uploads a file, whole or not at all."""
        import obstore

        with self._explained(f"{path.name} cannot be uploaded"):
            obstore.put(self._store, name or path.name, path, chunk_size=_CHUNK_BYTES)

    def upload_export(self, manifest_path: Path) -> None:
        """Uploads a file, then its manifest."""
        self.upload(manifest_path.with_suffix(FILE_SUFFIX))
        self.upload(manifest_path)

    def remove_export(self, manifest_name: str) -> None:
        """Removes a manifest, then its file."""
        import obstore

        with self._explained(f"{manifest_name} cannot be removed"):
            obstore.delete(self._store, manifest_name)
            file = manifest_name.removesuffix(MANIFEST_SUFFIX) + FILE_SUFFIX
            if file in self.names():
                obstore.delete(self._store, file)

    def remove_parquet_exports(self) -> int:
        """Removes releases that were exported as Parquet files. Returns their number."""
        import obstore

        with self._explained("cannot be listed"):
            listed = [meta["path"] for chunk in obstore.list(self._store) for meta in chunk]
        releases = {
            name.split("/")[0]
            for name in listed
            if _PARQUET.fullmatch(name) and name.endswith(MANIFEST_SUFFIX)
        }
        for name in sorted(listed, key=lambda name: not name.endswith(MANIFEST_SUFFIX)):
            if _PARQUET.fullmatch(name):
                with self._explained(f"{name} cannot be removed"):
                    obstore.delete(self._store, name)
        return len(releases)

    def remove_incomplete(self) -> None:
        """Removes files without a manifest, which killed exporters have left."""
        import obstore

        names = self.names()
        for name in names:
            manifest = name.removesuffix(FILE_SUFFIX) + MANIFEST_SUFFIX
            if name.endswith(FILE_SUFFIX) and number_of(name) and manifest not in names:
                with self._explained(f"{name} cannot be removed"):
                    obstore.delete(self._store, name)

    def download_manifests(self, folder: Path) -> None:
        """Downloads all manifests to a folder."""
        for name in self.manifest_names():
            self.download_object(name, folder / name)

    def has_file(self, manifest: ReleaseFileManifest) -> bool:
        """Whether the file of a manifest is there, with its size."""
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
        import obstore

        with self._explained(f"{name} cannot be downloaded"):
            try:
                result = obstore.get(self._store, name)
            except (obstore.exceptions.NotFoundError, FileNotFoundError):
                raise ReleaseFileError(f"{name} is missing beside its manifest") from None
            with path.open("wb") as file:
                for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Raises errors of the store as RemoteFolderError, without credentials."""
        try:
            from obstore.exceptions import BaseError
        except ImportError:
            raise RemoteFolderError(
                f"release files at {self.url} need the extra objectstore: pip install "
                "'batch-predictions[objectstore]'"
            ) from None
        try:
            yield
        except (BaseError, FileNotFoundError, PermissionError, ValueError) as error:
            reason = without_credentials(str(error).strip().split("\n")[0])[:500]
            raise RemoteFolderError(
                f"{self.url} {what}: {reason}. Credentials are those of the environment "
                "(AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, …); AWS_ENDPOINT_URL is the "
                "URL of an S3-compatible server"
            ) from None


def _is_manifest(name: str) -> bool:
    return name.endswith(MANIFEST_SUFFIX) and number_of(name) is not None
