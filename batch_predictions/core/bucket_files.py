"""The files of a home in a bucket: they are objects, and a folder of this machine has copies.

All code reads and writes the folder, as it does that of a local home. `pull` brings it to what the
bucket has. Whatever is made durable in it (`core.durability`) is uploaded before the write returns:
a new file only if the bucket has none of its name, a changed one only if the object is still the
one that was downloaded, so that of two machines that write one file the second gets an error.

Partitions of tables are not among these files: see `warehouse.delta_tables`. Files of this machine
alone, such as scratch folders, locks and caches, are neither.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.home import BACKTESTS, ERASURES, REPORT, HomeError, state_copy_path
from batch_predictions.core.object_store import ObjectConflictError, ObjectFolder, in_threads

ENGINE = "inference"
"""The folder of shards and results, which machines share only where several of them score."""
PARTITION_COPIES, PAST = ".cache", ".at"
"""The folders of copies of partitions, and of homes with earlier versions of the tables."""
_WITH_USERS = (ENGINE, "training_cache", PARTITION_COPIES, PAST)
"""The folders of each machine alone that have rows of users; its report has baskets."""
_LOCAL = {
    ENGINE,
    REPORT,
    BACKTESTS,
    "alerts.log",
    "dagster",
    "processes",
    "release_copies",
    "training_cache",
    "warehouse",
    "warehouse.duckdb",
    "warehouse.views",
}
"""Files and folders that each machine has for itself, or that are tables in the bucket."""
_LAZY = re.compile(r"(models/[^/]+/versions/[^/]+/)(?!manifest\.json$)")
"""Objects that are downloaded when they are needed: files of models, all but the manifest."""
_STATE, _LOCK, _PROBED = ".objects.json", ".objects.lock", ".bucket.probed"
_DOWNLOADED = ".objects.downloaded.json"
"""The copies that a process is putting into the folder, or was when it was killed."""
_log = logging.getLogger(__name__)


class _Copy(NamedTuple):
    """A file that equals its object.

    Attributes:
        e_tag: the object's.
        size: of the file, bytes.
        mtime_ns: of the file.
    """

    e_tag: str | None
    size: int
    mtime_ns: int


class HomeBucket:
    """The files of a home in a bucket, and their copies in a folder.

    Args:
        root: the folder.
        url: of the home, such as s3://bucket/prefix.

    Attributes:
        cache_bytes: limit of the copies of partitions.
        database_url: the PostgreSQL that has the home's lock; None: it is not known.
    """

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self.cache_bytes = 20 << 30
        self.database_url: str | None = None
        self.objects = ObjectFolder(url, "the home", HomeError, "lakehouse")

    def probe(self) -> None:
        """Checks that the store refuses a write whose condition is false, once for each folder.

        Raises:
            HomeError: it does not, as older versions of MinIO: two runs could overwrite each other.
        """
        done = self.root / _PROBED
        if done.exists():
            return
        name = f".probe-{uuid.uuid4().hex}"
        first = self.objects.put(name, b"1", if_absent=True)
        try:
            for condition in ({"if_absent": True}, {"if_e_tag": '"0123456789abcdef"'}):
                try:
                    self.objects.put(name, b"2", **condition)
                except ObjectConflictError:
                    continue
                raise HomeError(
                    f"{self.url} replaces objects although the condition of the write is false "
                    f"({', '.join(condition)}): the store is too old for a home; use one with "
                    "conditional writes"
                )
            if first is None:
                raise HomeError(f"{self.url} gives no ETags: use a store that does")
        finally:
            self.objects.delete(name)
        done.touch()

    def pull(self) -> list[str]:
        """Brings the folder to what the bucket has, and uploads what a killed process left.

        Where the bucket and the folder have both changed, the bucket's file is kept. If a user was
        erased on another machine, the copies of rows that this one has are removed.

        Returns:
            Names of the files that were downloaded.

        Raises:
            HomeError: the bucket cannot be read or written.
        """
        with self._copies() as copies:
            try:
                self._upload(copies, None)
            except ObjectConflictError as error:
                _log.warning("%s: this machine's change is left out", error)
            present = {name: e_tag for name, e_tag in self._list() if not is_local(name)}
            for name in [name for name in copies if name not in present]:
                (self.root / name).unlink(missing_ok=True)
                del copies[name]
            due = [
                name
                for name, e_tag in present.items()
                if (copies[name].e_tag != e_tag if name in copies else not _LAZY.match(name))
            ]
            self._download(due, copies)
        return due

    def refresh(self, name: str) -> None:
        """Downloads a file if its object is another one by now, or removes it if that is gone."""
        with self._copies() as copies:
            known, e_tag = copies.get(name), self.objects.e_tag(name)
            if e_tag is not None and (known is None or known.e_tag != e_tag):
                self._download([name], copies)
            elif e_tag is None and known is not None:
                (self.root / name).unlink(missing_ok=True)
                del copies[name]

    def push(self, folder: Path) -> None:
        """Uploads what has changed in a folder, and removes the objects of files that are gone.

        Args:
            folder: below the home's; of the home itself, files in it alone. Others are left out.

        Raises:
            HomeError: the bucket cannot be written, or another machine has changed a file.
        """
        if folder != self.root and self.root not in folder.parents:
            return
        name = folder.relative_to(self.root).as_posix()
        if name != "." and is_local(name) and folder != state_copy_path(self.root).parent:
            return
        with self._copies() as copies:
            try:
                self._upload(copies, folder)
            except ObjectConflictError as error:
                raise HomeError(f"{error}: run again") from None

    def fetch(self, folder: Path) -> list[Path]:
        """Downloads the files of a folder that the bucket has and this machine has not."""
        prefix = folder.relative_to(self.root).as_posix()
        if prefix.split("/")[0] == ENGINE:
            names = [
                name for name in self.objects.list(f"{prefix}/") if not (self.root / name).exists()
            ]
            self._download(names, None)
            return [self.root / name for name in names]
        if not _LAZY.match(f"{prefix}/_"):
            return []
        with self._copies() as copies:
            names = [n for n in self.objects.list(prefix) if n not in copies and _LAZY.match(n)]
            self._download(names, copies)
        return [self.root / name for name in names]

    def share(self, path: Path) -> None:
        """Uploads a file, or those of a folder, that the bucket has not."""
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]

        def upload(file: Path) -> None:
            name = file.relative_to(self.root).as_posix()
            with contextlib.suppress(ObjectConflictError):
                self.objects.put(name, file.read_bytes(), if_absent=True)

        in_threads(upload, files)

    def remove_shared(self, before: dt.datetime | None = None, folder: str = "") -> None:
        """Removes what machines have shared of the engine.

        Args:
            before: only what is older than this; None: all.
            folder: only that of one prediction; empty: all.
        """
        shared = self.objects.list(f"{ENGINE}/{folder}").items()
        old = [name for name, info in shared if before is None or info.modified < before]
        in_threads(self.objects.delete, old)

    # --- both ways ------------------------------------------------------------------------------

    def _upload(self, copies: dict[str, _Copy], folder: Path | None) -> None:
        """Uploads changed files of a folder, or of all; objects of missing ones are removed."""
        files = dict(self._files(folder))
        changed = [
            name
            for name, stat in files.items()
            if name not in copies or copies[name][1:] != (stat.st_size, stat.st_mtime_ns)
        ]

        def upload(name: str) -> tuple[str, _Copy]:
            old, stat = copies.get(name), files[name]
            content = (self.root / name).read_bytes()
            known = old.e_tag if old else None
            e_tag = self.objects.put(name, content, if_absent=known is None, if_e_tag=known)
            return name, _Copy(e_tag, stat.st_size, stat.st_mtime_ns)

        copies.update(in_threads(upload, changed))
        gone = [name for name in copies if name not in files and self._is_in(name, folder)]
        for name in gone:
            lazy = _LAZY.match(f"{name.removesuffix('manifest.json')}_")
            objects = [name]
            if lazy and name.endswith("/manifest.json"):
                # With its manifest a model is gone, files that were never downloaded too.
                objects = [*self.objects.list(lazy[1])]
                shutil.rmtree(self.root / lazy[1], ignore_errors=True)
            for object_name in objects:
                self.objects.delete(object_name)
                copies.pop(object_name, None)

    def _download(self, names: Iterable[str], copies: dict[str, _Copy] | None) -> None:
        """Downloads objects; the files are recorded as copies, if any are, before they are there.

        A file without a record would be taken for one that this machine has written.
        """

        def download(name: str) -> tuple[str, Path, _Copy] | None:
            found = self.objects.get(name)
            if found is None:
                return None
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
            draft.write_bytes(found[0])
            stat = draft.stat()
            return name, draft, _Copy(found[1], stat.st_size, stat.st_mtime_ns)

        downloaded = [*filter(None, in_threads(download, names))]
        if copies is not None and downloaded:
            self._record(_DOWNLOADED, {name: copy for name, _, copy in downloaded})
        for name, draft, copy in downloaded:
            draft.replace(self.root / name)
            if copies is not None:
                copies[name] = copy
            if name == ERASURES:
                # Whoever was erased on another machine is erased from the copies of this one.
                for folder in _WITH_USERS:
                    shutil.rmtree(self.root / folder, ignore_errors=True)
                (self.root / REPORT).unlink(missing_ok=True)

    def _list(self) -> Iterator[tuple[str, str | None]]:
        """Names and ETags of all objects but those of folders that are each machine's alone."""
        folders, objects = self.objects.list_level()
        yield from ((name, info.e_tag) for name, info in objects.items())
        chosen = [folder for folder in folders if folder not in _LOCAL]
        for listed in in_threads(lambda folder: self.objects.list(f"{folder}/"), chosen):
            yield from ((name, info.e_tag) for name, info in listed.items())
        copy = state_copy_path(self.root).relative_to(self.root).as_posix()
        if (e_tag := self.objects.e_tag(copy)) is not None:
            yield copy, e_tag

    def _files(self, folder: Path | None) -> Iterator[tuple[str, os.stat_result]]:
        """Files of the home in a folder, or all, by name."""
        copy = state_copy_path(self.root)
        if folder in {None, copy.parent} and copy.exists():
            yield copy.relative_to(self.root).as_posix(), copy.stat()
        pending = [] if folder == copy.parent else [folder or self.root]
        while pending:
            current = pending.pop()
            with os.scandir(current) as entries:
                for entry in entries:
                    name = Path(entry.path).relative_to(self.root).as_posix()
                    if is_local(name):
                        continue
                    if not entry.is_dir():
                        yield name, entry.stat()
                    elif folder != self.root:
                        pending.append(Path(entry.path))

    def _is_in(self, name: str, folder: Path | None) -> bool:
        """Returns whether a file is one of those that `_files` finds in a folder."""
        if folder is None:
            return True
        path = self.root / name
        return path.parent == folder if folder == self.root else folder in path.parents

    @contextmanager
    def _copies(self) -> Iterator[dict[str, _Copy]]:
        """The recorded copies, of one process of this machine at a time; changes are recorded."""
        with file_lock(self.root / _LOCK):
            before = self._recorded(_STATE)
            copies = dict(before)
            for name, copy in self._recorded(_DOWNLOADED).items():
                with contextlib.suppress(FileNotFoundError):
                    stat = (self.root / name).stat()
                    if copy[1:] == (stat.st_size, stat.st_mtime_ns):
                        copies[name] = copy
            try:
                yield copies
            finally:
                if copies != before:
                    self._record(_STATE, copies)
                (self.root / _DOWNLOADED).unlink(missing_ok=True)

    def _recorded(self, name: str) -> dict[str, _Copy]:
        try:
            stored = json.loads((self.root / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {name: _Copy(*copy) for name, copy in stored.items()}

    def _record(self, name: str, copies: Mapping[str, _Copy]) -> None:
        path = self.root / name
        draft = path.with_name(f"{name}-{uuid.uuid4().hex}")
        draft.write_text(json.dumps(copies), encoding="utf-8")
        draft.replace(path)


def is_local(name: str) -> bool:
    """Returns whether a file of a home is this machine's alone.

    Args:
        name: its path from the home, with slashes.
    """
    parts = name.split("/")
    if name == "warehouse/.state.yaml":
        return False
    return (
        parts[0] in _LOCAL
        or parts[0].startswith("serving")
        or parts[-1].endswith(".lock")
        or any(part.startswith(".") for part in parts)
    )
