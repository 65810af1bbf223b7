"""Copies objects of an object store, or files of a web server, to a local folder.

Only new and changed objects are downloaded: those whose ETag, size or time of change differ. A file
takes its place when it is complete, so that an interrupted download is never read.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.object_store import (
    download_object,
    explained,
    open_object_store,
    require_obstore,
    without_credentials,
)
from batch_predictions.core.relative_paths import validate_relative_path
from batch_predictions.sources.base import SourceError

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az", "https", "http")
"""Schemes of URLs that `source.path` may have."""
_PARALLEL_DOWNLOADS = 8


def validate_url(url: str) -> None:
    """Checks a URL in `source.path`; messages do not show it.

    Raises:
        SourceError: its scheme is unknown, or it has a user name, a password or a query.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise SourceError(
            f"source.path has the scheme {parts.scheme}://, which cannot be read: write "
            f"{', '.join(f'{scheme}://' for scheme in SCHEMES)} or a folder"
        )
    if "@" in parts.netloc or parts.query:
        raise SourceError(
            "source.path is a URL with a user name, a password or a query: remove it, and set "
            "credentials in the environment, such as AWS_ACCESS_KEY_ID"
        )


@dataclass(frozen=True)
class ObjectCache:
    """A local copy of the objects below a URL.

    Attributes:
        url: such as s3://bucket/prefix.
        folder: folder of the copy and its manifest.
        endpoint: URL of an S3-compatible server; None: that of the environment, or the provider's.
    """

    url: str
    folder: Path
    endpoint: str | None = None

    @property
    def visible_url(self) -> str:
        """The URL for messages."""
        return without_credentials(self.url)

    @property
    def files(self) -> Path:
        """Folder of the copied files."""
        return self.folder / "files"

    def update(
        self, is_wanted: Callable[[str], bool], names: Sequence[str] | None = None
    ) -> list[str]:
        """Downloads new and changed objects, and removes files whose objects are gone.

        Args:
            is_wanted: whether an object of a name, relative to the URL, is downloaded.
            names: names of the objects; None: they are listed. A web server cannot list.

        Returns:
            The names of the other objects.

        Raises:
            SourceError: the store cannot be reached, or an object cannot be downloaded.
        """
        self.files.mkdir(parents=True, exist_ok=True)
        with self._locked():
            store = self._open_store()
            objects = self._find_objects(store, names)
            wanted = {name: meta for name, meta in objects.items() if is_wanted(name)}
            manifest = self._read_manifest()
            due = [
                name
                for name, meta in wanted.items()
                if manifest.get(name) != _version(meta) or not (self.files / name).is_file()
            ]
            with ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
                downloads = {name: pool.submit(self._download, store, name) for name in due}
                try:
                    for name, download in downloads.items():
                        manifest[name] = download.result()
                finally:
                    for download in downloads.values():
                        download.cancel()
                    self._write_manifest(manifest)
            self._remove_others(set(wanted), manifest)
        return sorted(objects.keys() - wanted.keys())

    def _open_store(self) -> ObjectStore:
        require_obstore(f"source.path {self.visible_url}", SourceError)
        with self._explained("cannot be opened"):
            return open_object_store(self.url, self.endpoint)

    def _find_objects(
        self, store: ObjectStore, names: Sequence[str] | None
    ) -> dict[str, ObjectMeta]:
        import obstore

        found: list[tuple[str, ObjectMeta]] = []
        if names is None:
            with self._explained("cannot be listed"):
                listed = (meta for chunk in obstore.list(store) for meta in chunk)
                found = [(meta["path"], meta) for meta in listed]
        for name in names or ():
            with self._explained(f"has no {name}, or it cannot be read"):
                found.append((name, obstore.head(store, name)))
        # Object stores show folders as empty objects, whose names end with a slash.
        objects = {name: meta for name, meta in found if name and not name.endswith("/")}
        for name in objects:
            try:
                validate_relative_path(name)
            except ValueError:
                raise SourceError(
                    f"{self.visible_url} has an object {name!r}, which cannot be the name of a "
                    "file: rename it"
                ) from None
        return objects

    def _download(self, store: ObjectStore, name: str) -> list[str | int | None]:
        """Downloads an object; returns its version."""
        target = self.files / name
        draft = self.folder / f".download-{uuid.uuid4().hex}"
        try:
            with self._explained(f"{name} cannot be downloaded"):
                meta = download_object(store, name, draft)
            if draft.stat().st_size != meta["size"]:
                raise SourceError(
                    f"{self.visible_url}: {name} has {meta['size']} bytes, but "
                    f"{draft.stat().st_size} were received: try again"
                )
            version = _version(meta)
            # Files with equal times and sizes count as unchanged: the ETag is part of the time.
            nanoseconds = int(hashlib.sha256(str(version).encode()).hexdigest()[:8], 16) % 10**9
            time = int(meta["last_modified"].timestamp()) * 10**9 + nanoseconds
            os.utime(draft, ns=(time, time))
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                draft.replace(target)
            except OSError as error:
                raise SourceError(
                    f"{self.visible_url}: {name} cannot be a file ({error.strerror}): another "
                    "object has the name of its folder; rename one of them"
                ) from None
        finally:
            draft.unlink(missing_ok=True)
        return version

    def _remove_others(self, names: set[str], manifest: dict[str, object]) -> None:
        """Removes files that are not among the names, and leftovers of interrupted downloads."""
        for path in sorted(self.files.rglob("*"), reverse=True):
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.relative_to(self.files).as_posix() not in names:
                path.unlink()
        for path in self.folder.glob(".download-*"):
            path.unlink()
        kept = {name: version for name, version in manifest.items() if name in names}
        if kept != manifest:
            self._write_manifest(kept)

    def _read_manifest(self) -> dict[str, object]:
        path = self.folder / "manifest.json"
        if not path.exists():
            return {}
        manifest: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
        return manifest

    def _write_manifest(self, manifest: dict[str, object]) -> None:
        atomic_write(self.folder / "manifest.json", json.dumps(manifest, indent=1))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps other processes from updating the copy during the block."""
        with file_lock(self.folder / "lock"):
            yield

    def _explained(self, problem: str) -> AbstractContextManager[None]:
        """Raises errors of the store as SourceError, without credentials."""
        message = f"{self.visible_url} {problem}"
        return explained(message, SourceError, (OSError,), "source.endpoint")


def _version(meta: ObjectMeta) -> list[str | int | None]:
    """Entity tag, size and time of an object, which change when the object does."""
    time = meta["last_modified"].astimezone(dt.UTC).isoformat()
    return [meta.get("e_tag"), int(meta["size"]), time]
