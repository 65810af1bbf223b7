"""Tables of a home in a bucket as this machine has them: pointers to the files of a version.

In the home's folder each partition has, where a local home has its file, a pointer: a line that
names the object. So partitions are listed, compared and hashed as those of a local home, and no row
is downloaded for that. Who reads rows asks `local_file` for a copy, as DuckDB does by
`PointerFileSystem`.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from batch_predictions.core.bucket_files import PAST, HomeBucket
from batch_predictions.core.durability import rename_if_absent
from batch_predictions.core.file_hashes import hash_file
from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.home_bucket import MARKER, bucket_of
from batch_predictions.core.object_store import in_threads
from batch_predictions.tables import TABLES, Table
from batch_predictions.warehouse.delta_log import DeltaLog, TableFile, TableVersion
from batch_predictions.warehouse.partition_files import remove_empty_folders
from batch_predictions.warehouse.pointers import PointerCache, pointer_text, read_pointer
from batch_predictions.warehouse.schema_sql import WarehouseError

_STATE, _LOCK, _PINNED = ".delta.json", ".delta.lock", ".pinned"
_APPLYING = ".delta.applying"
"""The file of a table's folder whose pointers a process is changing, or was when it was killed."""


@functools.cache
def _tables_of(home: Path) -> DeltaTables | None:
    pinned = home / _PINNED
    bucket = bucket_of(home.parents[1] if pinned.exists() else home)
    if bucket is None:
        return None
    if pinned.exists():
        return DeltaTables(bucket, home / "warehouse", is_pinned=True)
    return DeltaTables(bucket, home / "warehouse")


def tables_of(home: Path) -> DeltaTables | None:
    """The tables of a home in a bucket, as they were when this process first asked; None: local.

    Raises:
        HomeError: the bucket cannot be read.
    """
    tables = _tables_of(home)
    if tables is not None and (new := [t for name, t in TABLES.items() if name not in tables.seen]):
        # At first all; then those of plugins that are loaded later.
        tables.pull(new)
    return tables


def local_file(path: Path) -> Path:
    """A partition's file on this machine: `path` itself, or a copy of what its pointer names.

    Args:
        path: of a partition, as `Warehouse.path` gives it.

    Raises:
        FileNotFoundError: the partition is not written.
        HomeError: the bucket cannot be read, or has another file than the pointer names.
    """
    pointer = read_pointer(path)
    if pointer is None:
        return path
    home = next((parent for parent in path.parents if (parent / MARKER).exists()), None)
    tables = tables_of(home) if home else None
    if tables is None:
        raise WarehouseError(f"{path} is a pointer to an object, but no home in a bucket has it")
    return tables.cache.file(path, pointer)


def count_rows(path: Path) -> int:
    """The number of rows of a partition's file, without a download.

    Raises:
        OSError, pyarrow.ArrowException: it cannot be read.
    """
    import pyarrow.parquet as pq

    pointer = read_pointer(path)
    rows: int = pointer.rows if pointer else pq.read_metadata(path).num_rows
    return rows


class DeltaTables:
    """Reads and commits versions of the tables of one home.

    Args:
        bucket: of the home.
        folder: of the pointers.
        is_pinned: whether the pointers are those of the past, and stay.
    """

    def __init__(self, bucket: HomeBucket, folder: Path, *, is_pinned: bool = False) -> None:
        self.bucket, self.folder, self.is_pinned = bucket, folder, is_pinned
        self.cache = PointerCache(bucket)
        self.seen: set[str] = set()
        self.log = DeltaLog(bucket)

    # --- reading --------------------------------------------------------------------------------

    def pull(self, tables: Iterable[Table] | None = None) -> None:
        """Brings the pointers of tables, or of all, to their newest versions.

        Raises:
            HomeError: the bucket cannot be read.
            WarehouseError: another program has written a second file of a partition.
        """
        chosen = list(TABLES.values() if tables is None else tables)
        self.seen.update(table.qualified for table in chosen)
        if self.is_pinned:
            return
        newer = in_threads(lambda table: self.log.has_newer(table, self.version(table)), chosen)
        for table, is_newer in zip(chosen, newer, strict=True):
            # The pointers of a process that was killed among them are set again.
            if is_newer or (self._folder(table) / _APPLYING).exists():
                with self._locked(table):
                    self._apply(table, self.log.newest(table))

    def is_alike(self, table: Table) -> bool:
        """Returns whether all files of a table have the declared columns, and no others."""
        snapshot = self._snapshot(table)
        names = {column.name for column in table.columns}
        return not snapshot.files or set(snapshot.columns) == names

    def version(self, table: Table) -> int:
        """The version of a table that the pointers show; -1: it has none."""
        return self._snapshot(table).version

    def pin(self, versions: Mapping[str, int]) -> Path:
        """Makes a home folder whose warehouse has earlier versions of the tables, to be read only.

        Args:
            versions: of tables, by qualified name; the other tables are empty.

        Returns:
            The folder, in that of the home.

        Raises:
            WarehouseError: a version is gone: it was vacuumed, or had rows that were erased.
        """
        home = self._pinned_home(versions)
        draft = home.with_name(f".{home.name}-{uuid.uuid4().hex}")
        past = DeltaTables(self.bucket, draft / "warehouse", is_pinned=True)
        for name, version in versions.items():
            past._apply(TABLES[name], self.log.at(TABLES[name], version))
        (draft / _PINNED).touch()
        try:
            rename_if_absent(draft, home)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        (home / _PINNED).touch()
        return home

    def remove_pinned(self, since: dt.datetime | None, keep: Iterable[Mapping[str, int]]) -> None:
        """Removes home folders that `pin` made, but not those that were asked for lately.

        Args:
            since: from when on; None: all are removed.
            keep: versions whose folders stay in any case.
        """
        kept = {self._pinned_home(versions) for versions in keep}
        for home in (self.bucket.root / PAST).glob("*"):
            pinned = home / _PINNED
            changed = (pinned if pinned.exists() else home).stat().st_mtime
            is_old = since is None or changed < since.timestamp()
            if home not in kept and is_old:
                # No reader, and no process that pins it again, meets a part of it.
                doomed = home.with_name(f".{uuid.uuid4().hex}")
                home.replace(doomed)
                shutil.rmtree(doomed, ignore_errors=True)

    def _pinned_home(self, versions: Mapping[str, int]) -> Path:
        digest = hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()[:16]
        return self.bucket.root / PAST / digest

    def vacuum(self, since: dt.datetime | None, keep: Mapping[str, Sequence[int]]) -> int:
        """Removes files that no version since a time has, nor one that is kept.

        The library's own vacuum writes two commits to each table, in which it may find nothing.

        Args:
            since: versions that were current then or later stay; None: only the newest, and no
                files of unfinished writes.
            keep: versions that stay in any case, by a table's qualified name.

        Returns:
            The number of files.
        """
        self.pull()
        tables = list(TABLES.values())
        found = in_threads(
            lambda table: self.log.old_files(self._snapshot(table), table, since), tables
        )
        removed = 0
        for table, names in zip(tables, found, strict=True):
            if names:
                for version in keep.get(table.qualified, ()):
                    names -= self._names_at(table, version)
                in_threads(self.bucket.objects.delete, sorted(names))
                removed += len(names)
        return removed

    def _names_at(self, table: Table, version: int) -> set[str]:
        try:
            files = self.log.at(table, version).files
        except WarehouseError:
            return set()
        return {self.log.prefix(table) + file.name for file in files.values()}

    def find_damage(self, table: Table, paths: Sequence[Path]) -> dict[Path, str]:
        """Finds partitions whose object the bucket lacks, or has otherwise than it was written.

        Args:
            table: the table.
            paths: of its partitions' pointers.

        Returns:
            What is wrong, by path.

        Raises:
            HomeError: the bucket cannot be read.
        """
        pointers = {path: pointer for path in paths if (pointer := read_pointer(path))}
        damage = self.cache.find_damage(self.log.prefix(table), list(pointers.values()))
        return {path: damage[p.name] for path, p in pointers.items() if p.name in damage}

    def restore(self, path: Path) -> bool:
        """Uploads this machine's copy of a partition that the bucket lacks; whether it has one."""
        pointer = read_pointer(path)
        return pointer is not None and self.cache.restore(pointer)

    # --- writing --------------------------------------------------------------------------------

    def commit(
        self, table: Table, drafts: Mapping[Path, Path | None], rows: Mapping[Path, int]
    ) -> None:
        """Replaces or removes partitions in one commit.

        Args:
            table: the table.
            drafts: the file with the rows of each partition, by the path of its pointer; None: the
                partition is removed. Files are moved to the cache.
            rows: number of rows of each draft.

        Raises:
            WarehouseError: another process has replaced one of them since this one looked.
            HomeError: the bucket cannot be read or written.
        """
        if self.is_pinned:
            raise WarehouseError(
                f"{table.qualified}: an earlier version of the warehouse can only be read"
            )
        folder = self._folder(table)
        names = {path: path.relative_to(folder).as_posix() for path in drafts}
        before = self._snapshot(table).files
        expected = {name: before.get(name) for name in names.values()}
        wanted: dict[str, TableFile | None] = {}
        uploads = []
        for path, draft in drafts.items():
            if draft is None:
                wanted[names[path]] = None
                continue
            object_name = f"{hash_file(draft)}-{uuid.uuid4().hex[:8]}.parquet"
            name = str(Path(names[path]).with_name(object_name))
            stat = draft.stat()
            written = int(stat.st_mtime * 1000)
            wanted[names[path]] = TableFile(name, stat.st_size, rows[path], written)
            uploads.append((draft, name))
        prefix = self.log.prefix(table)
        in_threads(lambda job: self.bucket.objects.upload(job[0], prefix + job[1]), uploads)
        with self._locked(table):
            self._apply(table, self.log.commit(table, expected, wanted))
            for draft, name in uploads:
                self.cache.adopt(draft, prefix + name)

    # --- versions and pointers ------------------------------------------------------------------

    def _apply(self, table: Table, snapshot: TableVersion) -> None:
        """Makes the pointers of a table those of a version; the caller holds the table's lock."""
        folder, before = self._folder(table), self._snapshot(table)
        shown: Mapping[str, TableFile | None] = before.files
        applying = folder / _APPLYING
        if applying.exists():
            # A process was killed here: some pointers are those that it wrote.
            paths = folder.rglob("data.parquet")
            shown = dict.fromkeys(path.relative_to(folder).as_posix() for path in paths)
        elif snapshot.version <= before.version:
            return
        folder.mkdir(parents=True, exist_ok=True)
        applying.touch()
        for key, file in snapshot.files.items():
            if shown.get(key) == file:
                continue
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
            draft.write_text(
                pointer_text(self.log.prefix(table) + file.name, file.size, file.rows), "utf-8"
            )
            # The same on all machines, so that what follows from times does, too.
            os.utime(draft, ns=(file.written_ms * 1_000_000,) * 2)
            draft.replace(path)
        for key in shown.keys() - snapshot.files.keys():
            (folder / key).unlink(missing_ok=True)
            remove_empty_folders(folder / key, folder)
        draft = folder / f"{_STATE}-{uuid.uuid4().hex}"
        content = [snapshot.version, snapshot.files, snapshot.columns]
        draft.write_text(json.dumps(content), encoding="utf-8")
        draft.replace(folder / _STATE)
        applying.unlink()

    def _snapshot(self, table: Table) -> TableVersion:
        """The version that the pointers show."""
        path = self._folder(table) / _STATE
        try:
            stat = path.stat()
        except FileNotFoundError:
            return TableVersion(-1, {})
        return _stored_snapshot(path, stat.st_mtime_ns, stat.st_ino)

    @contextmanager
    def _locked(self, table: Table) -> Iterator[None]:
        folder = self._folder(table)
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / _LOCK):
            yield

    def _folder(self, table: Table) -> Path:
        return self.folder / table.schema / table.name


@functools.lru_cache(maxsize=256)
def _stored_snapshot(path: Path, mtime_ns: int, inode: int) -> TableVersion:
    """The recorded version of a table; the times and the inode of the record make it anew."""
    version, files, columns = json.loads(path.read_text(encoding="utf-8"))
    return TableVersion(version, {key: TableFile(*file) for key, file in files.items()}, columns)
