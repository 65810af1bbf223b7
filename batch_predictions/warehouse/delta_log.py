"""The Delta Lake tables of a home in a bucket: their versions, and commits to them.

A table is divided by the columns of the declaration's folders; a partition is one file, which never
changes. To replace partitions is one commit, which fails if another process has replaced one of
them since.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from batch_predictions.core.bucket_files import HomeBucket
from batch_predictions.core.home import HomeError
from batch_predictions.core.object_store import (
    ATTEMPTS,
    delta_errors_as,
    delta_options,
    in_threads,
)
from batch_predictions.tables import Table
from batch_predictions.warehouse.schema_sql import WarehouseError, empty_schema

if TYPE_CHECKING:
    from deltalake import DeltaTable

COMMIT_ATTEMPTS = 30
"""Times that a commit is tried while other processes commit to the same table."""
COLUMNS_ADDED = "Columns were added after its first files."
_PROPERTIES = {"delta.checkpointInterval": "20", "delta.logRetentionDuration": "interval 400 days"}
"""Versions of stored releases are read from the log."""
Result = TypeVar("Result")


class TableFile(NamedTuple):
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
class TableVersion:
    """A version of a table.

    Attributes:
        version: of the table; -1: there is none yet.
        files: by the path that the partition's file has in a local home, from the table's folder.
        columns: that all files have; empty: some have fewer than others.
    """

    version: int
    files: Mapping[str, TableFile]
    columns: Sequence[str] = ()


class DeltaLog:
    """Reads and commits versions of the tables of one home.

    Args:
        bucket: of the home.
    """

    def __init__(self, bucket: HomeBucket) -> None:
        self.bucket = bucket
        self._opened: dict[str, DeltaTable] = {}
        self._lock = threading.RLock()

    def has_newer(self, table: Table, known: int) -> bool:
        """Returns whether the bucket has a newer version than a known one, -1 for none."""
        log = f"{self.prefix(table)}_delta_log/"
        after = f"{log}{known:020d}.json" if known >= 0 else log
        return any(name.endswith(".json") for name in self.bucket.objects.list_after(log, after))

    def newest(self, table: Table) -> TableVersion:
        """The newest version of a table.

        Raises:
            HomeError: the bucket cannot be read.
            WarehouseError: another program has written a second file of a partition.
        """

        def ask() -> TableVersion:
            opened = self._open(table)
            if opened is None:
                return TableVersion(-1, {})
            was_altered = COLUMNS_ADDED in (opened.metadata().description or "")
            columns = [] if was_altered else [field.name for field in opened.schema().fields]
            return TableVersion(opened.version(), _files_of(table, opened), columns)

        return self._ask(table, ask)

    def at(self, table: Table, version: int) -> TableVersion:
        """An earlier version of a table.

        Raises:
            HomeError: the bucket cannot be read.
            WarehouseError: the version is gone: it was vacuumed, or had rows that were erased.
        """
        from deltalake import DeltaTable

        def ask() -> dict[str, TableFile]:
            opened = DeltaTable(self._uri(table), version=version, storage_options=self._options())
            return _files_of(table, opened)

        prefix = self.prefix(table)
        files: dict[str, TableFile] | None
        try:
            files = self._ask(table, ask)
        except HomeError:
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
        return TableVersion(version, files)

    def commit(
        self,
        table: Table,
        expected: Mapping[str, TableFile | None],
        wanted: Mapping[str, TableFile | None],
    ) -> TableVersion:
        """Replaces files of partitions that are the expected ones.

        Args:
            table: the table, which is made, or gets columns that it lacks.
            expected: the file of each partition that is replaced; None: it has none.
            wanted: its new file, which is in the bucket; None: the partition is removed.

        Returns:
            The newest version, which may have commits of others too.

        Raises:
            HomeError: the bucket cannot be read or written.
            WarehouseError: another process has replaced one of the partitions.
        """
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
        return self.newest(table)

    def old_files(self, version: TableVersion, table: Table, since: dt.datetime | None) -> set[str]:
        """Names of objects that no version since a time has.

        Args:
            version: the newest.
            table: the table.
            since: the time; None: the newest version alone counts.
        """
        prefix = self.prefix(table)
        objects = self.bucket.objects.list(prefix)
        current = {prefix + file.name for file in version.files.values()}
        old = {name for name in objects if name.endswith(".parquet") and name not in current}
        old = {name for name in old if "/_delta_log/" not in name}
        if since is None or not old:
            return old
        for name, info in objects.items():
            if info.modified >= since:
                # A file of a write that goes on, or a commit: what it removed was there till then.
                old.discard(name)
                if name.endswith(".json") and (commit := self.bucket.objects.get(name)):
                    for action in map(json.loads, commit[0].splitlines()):
                        old.discard(prefix + action.get("remove", {}).get("path", ""))
        return old

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

    def _ask(self, table: Table, ask: Callable[[], Result]) -> Result:
        """Asks the bucket again where its answer broke off; asked twice, it does the same."""
        from deltalake.exceptions import CommitFailedError

        place = f"the table {table.qualified} of {self.bucket.url}"
        for attempt in range(ATTEMPTS):
            try:
                # The library's tables are used by one thread at a time.
                with self._lock, delta_errors_as(HomeError, place, passed=(CommitFailedError,)):
                    return ask()
            except HomeError:
                self._opened.pop(table.qualified, None)
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    @staticmethod
    def prefix(table: Table) -> str:
        """The beginning of the names of a table's objects, from the home's URL."""
        return f"warehouse/{table.schema}/{table.name}/"

    def _uri(self, table: Table) -> str:
        return f"{self.bucket.url}/warehouse/{table.schema}/{table.name}"

    def _options(self) -> dict[str, str] | None:
        return delta_options(self.bucket.url)


def _write(
    opened: DeltaTable,
    table: Table,
    current: Mapping[str, TableFile],
    wanted: Mapping[str, TableFile | None],
) -> None:
    """Commits new files of partitions, and the removal of those that they had."""
    from deltalake import CommitProperties
    from deltalake.transaction import AddAction, RemoveAction, Transaction

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


def _files_of(table: Table, opened: DeltaTable) -> dict[str, TableFile]:
    """The files of an opened version, by the path that the partition has in a local home.

    Raises:
        WarehouseError: a partition has several.
    """
    import pyarrow as pa

    actions: pa.Table = pa.table(opened.get_add_actions(flatten=True))
    files: dict[str, TableFile] = {}
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
        files[key] = TableFile(name, size, rows, millis)
    return files


def _partition_values(key: str) -> dict[str, str | None]:
    parts = (part.partition("=") for part in Path(key).parent.parts)
    return {name: value for name, _, value in parts}


def _name(file: TableFile | None) -> str | None:
    return file.name if file else None
