"""Tables of a home in a bucket: Delta Lake tables, and pointers to their files on this machine.

`<url>/warehouse/<schema>/<table>` is a Delta table, divided by the columns of the declaration's
folders; a partition is one file, which never changes. To replace partitions is one commit, which
fails if another process has replaced one of them since this machine last looked.

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
import random
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from batch_predictions.core.durability import rename_if_absent
from batch_predictions.core.file_hashes import hash_file
from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.home_bucket import MARKER, HomeBucket, bucket_of
from batch_predictions.core.object_store import (
    ATTEMPTS,
    delta_options,
    in_threads,
    without_credentials,
)
from batch_predictions.tables import TABLES, Table
from batch_predictions.warehouse.partition_files import remove_empty_folders
from batch_predictions.warehouse.pointers import PointerCache, pointer_text, read_pointer
from batch_predictions.warehouse.schema_sql import WarehouseError, empty_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

COMMIT_ATTEMPTS = 30
"""Of commits that others of the same table were faster than."""
COLUMNS_ADDED = "Columns were added after its first files."
_STATE, _LOCK, _PINNED = ".delta.json", ".delta.lock", ".pinned"
_APPLYING = ".delta.applying"
"""The file of a table's folder whose pointers a process is changing, or was when it was killed."""
_PAST = ".at"
"""The folder of the home folders with earlier versions."""
Result = TypeVar("Result")
_PROPERTIES = {"delta.checkpointInterval": "20", "delta.logRetentionDuration": "interval 400 days"}
"""Versions of stored releases are read from the log."""


class _File(NamedTuple):
    """A file of a table's version.

    Attributes:
        name: of the object, from the table's folder.
        size: in bytes.
        rows: their number.
        written_ms: when it was written, in milliseconds since the epoch.
    """

    name: str
    size: int
    rows: int
    written_ms: int


@dataclass(frozen=True)
class _Snapshot:
    """A version of a table.

    Attributes:
        version: of the table; -1: there is none yet.
        files: by the path that the partition's file has in a local home, from the table's folder.
        columns: that all files have; empty: some have fewer than others.
    """

    version: int
    files: Mapping[str, _File]
    columns: Sequence[str] = ()


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
        raise WarehouseError(f"{path} is a pointer, but of no home in a bucket")
    return tables.cache.file(path, pointer)


def content_hash(path: Path) -> str:
    """The SHA-256 of a partition's file; of what a pointer names, without a download.

    Raises:
        OSError: the partition is not written, or its file cannot be read.
    """
    pointer = read_pointer(path)
    return pointer.sha256 if pointer else hash_file(path)


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
        self._opened: dict[str, DeltaTable] = {}
        self._lock = threading.RLock()

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
        for table, is_newer in zip(chosen, in_threads(self._is_newer, chosen), strict=True):
            if is_newer:
                with self._locked(table):
                    self._apply(table, self._read(table))

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
        with self._lock:
            for name, version in versions.items():
                past._apply(TABLES[name], self._read_version(TABLES[name], version))
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
        for home in (self.bucket.root / _PAST).glob("*"):
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
        return self.bucket.root / _PAST / digest

    def _read_version(self, table: Table, version: int) -> _Snapshot:
        from deltalake import DeltaTable

        def ask() -> dict[str, _File]:
            opened = DeltaTable(self._uri(table), version=version, storage_options=self._options())
            return _files_of(table, opened)

        prefix = self._prefix(table)
        files: dict[str, _File] | None
        try:
            files = self._ask(table, ask)
        except self.bucket.objects.error:
            # Raises if the bucket cannot be read; else the version is gone.
            self.bucket.objects.get(f"{prefix}_delta_log/{version:020d}.json")
            files = None
        if files is not None:
            names = [prefix + file.name for file in files.values()]
            if None in in_threads(self.bucket.objects.e_tag, names):
                files = None
        if files is None:
            raise WarehouseError(
                f"{table.qualified} has no version {version} any more: its files were removed "
                "after retention.version_days, or when a user was erased"
            )
        return _Snapshot(version, files)

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
        found = in_threads(lambda table: self._old_files(table, since), tables)
        removed = 0
        for table, names in zip(tables, found, strict=True):
            if names:
                for version in keep.get(table.qualified, ()):
                    names -= self._names_at(table, version)
                in_threads(self.bucket.objects.delete, sorted(names))
                removed += len(names)
        return removed

    def _old_files(self, table: Table, since: dt.datetime | None) -> set[str]:
        """Names of objects that no version since a time has; None: that the newest has not."""
        prefix = self._prefix(table)
        objects = self.bucket.objects.list(prefix)
        current = {prefix + file.name for file in self._snapshot(table).files.values()}
        old = {name for name in objects if name.endswith(".parquet") and name not in current}
        old = {name for name in old if "/_delta_log/" not in name}
        if since is None or not old:
            return old
        for name, info in objects.items():
            if info.modified >= since:
                # A file of a write that goes on, or a commit: what it removed was there till then.
                old.discard(name)
                if name.endswith(".json") and (found := self.bucket.objects.get(name)):
                    for action in map(json.loads, found[0].splitlines()):
                        old.discard(prefix + action.get("remove", {}).get("path", ""))
        return old

    def _names_at(self, table: Table, version: int) -> set[str]:
        try:
            files = self._read_version(table, version).files
        except WarehouseError:
            return set()
        return {self._prefix(table) + file.name for file in files.values()}

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
            raise WarehouseError(f"{table.qualified}: this warehouse is of the past, to be read")
        folder = self._folder(table)
        names = {path: path.relative_to(folder).as_posix() for path in drafts}
        before = self._snapshot(table).files
        expected = {name: before.get(name) for name in names.values()}
        written = int(time.time() * 1000)
        wanted: dict[str, _File | None] = {}
        uploads = []
        for path, draft in drafts.items():
            if draft is None:
                wanted[names[path]] = None
                continue
            object_name = f"{hash_file(draft)}-{uuid.uuid4().hex[:8]}.parquet"
            name = str(Path(names[path]).with_name(object_name))
            wanted[names[path]] = _File(name, draft.stat().st_size, rows[path], written)
            uploads.append((draft, name))
        prefix = self._prefix(table)
        in_threads(lambda job: self.bucket.objects.upload(job[0], prefix + job[1]), uploads)
        with self._locked(table):
            self._commit(table, expected, wanted)
            for draft, name in uploads:
                self.cache.adopt(draft, prefix + name)

    def _commit(
        self,
        table: Table,
        expected: Mapping[str, _File | None],
        wanted: Mapping[str, _File | None],
    ) -> None:
        from deltalake.exceptions import CommitFailedError

        def ask() -> None:
            opened = self._open_to_write(table)
            current = _files_of(table, opened)
            if all(_name(current.get(key)) == _name(file) for key, file in wanted.items()):
                # Nothing to do; or the answer to the commit before was lost.
                return
            for key, file in expected.items():
                if _name(current.get(key)) != _name(file):
                    raise WarehouseError(
                        f"{table.qualified}: another process has replaced {Path(key).parent} in "
                        f"{self.bucket.url} since this one began; nothing was written: run again"
                    )
            _write(opened, table, current, wanted)

        for attempt in range(COMMIT_ATTEMPTS):
            try:
                self._ask(table, ask)
                break
            except CommitFailedError:
                time.sleep(random.uniform(0, 0.05 * (attempt + 1)))  # noqa: S311
        else:
            raise WarehouseError(
                f"{table.qualified}: others have written to it {COMMIT_ATTEMPTS} times before this "
                "process could; nothing was written: run again"
            )
        self._apply(table, self._read(table))

    # --- versions and pointers ------------------------------------------------------------------

    def _is_newer(self, table: Table) -> bool:
        """Returns whether the bucket has a newer version than the pointers, or some are not set."""
        if (self._folder(table) / _APPLYING).exists():
            return True
        log = f"{self._prefix(table)}_delta_log/"
        known = self._snapshot(table).version
        after = f"{log}{known:020d}.json" if known >= 0 else log
        return any(name.endswith(".json") for name in self.bucket.objects.list_after(log, after))

    def _read(self, table: Table) -> _Snapshot:
        def ask() -> _Snapshot:
            opened = self._open(table)
            if opened is None:
                return _Snapshot(-1, {})
            was_altered = COLUMNS_ADDED in (opened.metadata().description or "")
            columns = [] if was_altered else [field.name for field in opened.schema().fields]
            return _Snapshot(opened.version(), _files_of(table, opened), columns)

        return self._ask(table, ask)

    def _open(self, table: Table) -> DeltaTable | None:
        """The newest version of a table; None: there is none."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        opened = self._opened.get(table.qualified)
        if opened is not None:
            opened.update_incremental()
            return opened
        try:
            opened = DeltaTable(self._uri(table), storage_options=self._options())
        except TableNotFoundError:
            return None
        self._opened[table.qualified] = opened
        return opened

    def _open_to_write(self, table: Table) -> DeltaTable:
        """The newest version of a table, which is made, or gets columns that it lacks."""
        from deltalake import DeltaTable, Schema

        schema = Schema.from_arrow(empty_schema(table))
        opened = self._open(table)
        if opened is None:
            DeltaTable.create(
                self._uri(table),
                schema,
                mode="ignore",
                partition_by=list(table.folders),
                name=table.qualified,
                description=table.description,
                configuration=_PROPERTIES,
                storage_options=self._options(),
            )
            opened = self._open(table)
            assert opened is not None
        existing = {field.name for field in opened.schema().fields}
        if added := [field for field in schema.fields if field.name not in existing]:
            # First, as a process may be killed between.
            opened.alter.set_table_description(f"{table.description} {COLUMNS_ADDED}")
            opened.alter.add_columns(added)
        return opened

    def _apply(self, table: Table, snapshot: _Snapshot) -> None:
        """Makes the pointers of a table those of a version; the caller holds the table's lock."""
        folder, before = self._folder(table), self._snapshot(table)
        shown: Mapping[str, _File | None] = before.files
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
                pointer_text(self._prefix(table) + file.name, file.size, file.rows), "utf-8"
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

    def _snapshot(self, table: Table) -> _Snapshot:
        """The version that the pointers show."""
        path = self._folder(table) / _STATE
        try:
            stat = path.stat()
        except FileNotFoundError:
            return _Snapshot(-1, {})
        return _stored_snapshot(path, stat.st_mtime_ns, stat.st_ino)

    @contextmanager
    def _locked(self, table: Table) -> Iterator[None]:
        folder = self._folder(table)
        folder.mkdir(parents=True, exist_ok=True)
        # deltalake's tables are used by one thread at a time.
        with self._lock, file_lock(folder / _LOCK):
            yield

    def _ask(self, table: Table, ask: Callable[[], Result]) -> Result:
        """Asks the bucket again where its answer broke off; asked twice, it does the same."""
        place = f"{self.bucket.url}, table {table.qualified}"
        for attempt in range(ATTEMPTS):
            try:
                with _as_home_errors(place, self.bucket):
                    return ask()
            except self.bucket.objects.error:
                self._opened.pop(table.qualified, None)
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _folder(self, table: Table) -> Path:
        return self.folder / table.schema / table.name

    def _prefix(self, table: Table) -> str:
        return f"warehouse/{table.schema}/{table.name}/"

    def _uri(self, table: Table) -> str:
        return f"{self.bucket.url}/warehouse/{table.schema}/{table.name}"

    def _options(self) -> dict[str, str] | None:
        return delta_options(self.bucket.url)


@functools.lru_cache(maxsize=256)
def _stored_snapshot(path: Path, mtime_ns: int, inode: int) -> _Snapshot:
    """The recorded version of a table; the times and the inode of the record make it anew."""
    version, files, columns = json.loads(path.read_text(encoding="utf-8"))
    return _Snapshot(version, {key: _File(*file) for key, file in files.items()}, columns)


def _write(
    opened: DeltaTable,
    table: Table,
    current: Mapping[str, _File],
    wanted: Mapping[str, _File | None],
) -> None:
    """Commits new files of partitions, and the removal of those that they had."""
    from deltalake import CommitProperties
    from deltalake._internal import RemoveAction
    from deltalake.transaction import AddAction, Transaction

    actions: list[Any] = []
    for key, file in wanted.items():
        values = _partition_values(key)
        if file is not None:
            stats = json.dumps({"numRecords": file.rows})
            actions.append(AddAction(file.name, file.size, values, file.written_ms, True, stats))
        if (old := current.get(key)) is not None:
            now = int(time.time() * 1000)
            actions.append(RemoveAction(old.name, True, now, old.size, values))
    # Two commits with one of these ids conflict, also where the partition had no file before.
    ids = [Transaction(key, opened.version() + 1, None) for key in wanted]
    opened.create_write_transaction(
        actions,
        "append",
        opened.schema(),
        list(table.folders),
        commit_properties=CommitProperties(app_transactions=ids),
    )


def _files_of(table: Table, opened: DeltaTable) -> dict[str, _File]:
    """The files of an opened version, by the path that the partition has in a local home.

    Raises:
        WarehouseError: a partition has several.
    """
    import pyarrow as pa

    actions: pa.Table = pa.table(opened.get_add_actions(flatten=True))
    files: dict[str, _File] = {}
    names = ("path", "size_bytes", "num_records", "modification_time")
    columns = (actions[name].to_pylist() for name in names)
    for name, size, rows, written in zip(*columns, strict=True):
        key = str(Path(name).with_name("data.parquet"))
        if key in files:
            raise WarehouseError(
                f"{table.qualified} has several files of {Path(key).parent}: another program has "
                "written to the table; restore the version before, and let only batch_predictions "
                "write to it"
            )
        millis = written if isinstance(written, int) else int(written.timestamp() * 1000)
        files[key] = _File(name, size, rows, millis)
    return files


def _partition_values(key: str) -> dict[str, str | None]:
    parts = (part.partition("=") for part in Path(key).parent.parts)
    return {name: value for name, _, value in parts}


def _name(file: _File | None) -> str | None:
    return file.name if file else None


@contextmanager
def _as_home_errors(place: str, bucket: HomeBucket) -> Iterator[None]:
    """Raises errors of the library in the block as HomeError, without credentials."""
    try:
        from deltalake.exceptions import CommitFailedError, DeltaError
    except ImportError as error:
        raise bucket.objects.error(
            "a home in a bucket needs Delta Lake: install batch_predictions with the extra "
            "lakehouse"
        ) from error
    try:
        yield
        return
    except CommitFailedError:
        raise
    except (DeltaError, OSError) as error:
        problem = without_credentials(str(error).splitlines()[0])
    # Outside of the block, so that no traceback has the library's error.
    raise bucket.objects.error(f"{place}: {problem}")
