"""The warehouse: DuckDB over one Parquet file per partition.

A partition is written to a temporary file, fsynced and renamed over the old one, so that a reader
sees all old rows or all new rows, even when the writer is killed. Different partitions can be
written at the same time. `<home>/warehouse.duckdb` contains one view per declared table and no
rows: queries attach it read-only, and analysts open it.
"""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import dagster as dg
import pyarrow as pa
from dagster_duckdb import DuckDBResource
from duckdb import (
    DuckDBPyConnection,
    FatalException,
    InternalException,
    InvalidInputException,
    IOException,
)
from duckdb import Error as DuckDBError

from batch_predictions.core.durability import fsync_folder
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES, Table
from batch_predictions.warehouse import partition_files
from batch_predictions.warehouse.delta_tables import local_file, tables_of
from batch_predictions.warehouse.digests import PartitionDigests
from batch_predictions.warehouse.drafts import has_rows_of, write_draft
from batch_predictions.warehouse.path_sql import escape_pattern, quote_literal
from batch_predictions.warehouse.schema_sql import (
    WarehouseError,
    check_partition_column,
    fixed_columns,
    select_from_parquet,
    typed_rows,
    used_parameters,
)
from batch_predictions.warehouse.shared_database import (
    SharedDuckDBResource,
    open_cursor,
    open_database,
)
from batch_predictions.warehouse.views import attach_copy, ensure_views, prepare_reads

if TYPE_CHECKING:
    import pandas as pd

Rows: TypeAlias = str | pa.Table | pa.RecordBatchReader | Sequence[Path]
"""Rows to write: a query, Arrow, or Parquet shards."""

Result = TypeVar("Result")
Key = TypeVar("Key", str, str | None)
READ_ATTEMPTS = 10


@dataclass(frozen=True)
class WriteResult:
    """A written partition: its file, how many rows it has, whether they differ from before."""

    table: Table
    partition: str | None
    rows: int
    path: Path
    changed: bool


class Warehouse(dg.ConfigurableResource[Any]):
    """Reads and writes the tables of one home folder."""

    home: str
    duckdb: DuckDBResource

    @classmethod
    def of(cls, settings: Settings) -> Warehouse:
        """The warehouse of a home folder, with DuckDB's limits from its settings."""
        home = settings.home.absolute()
        config = {
            **settings.duckdb.config(),
            "temp_directory": str(home / "warehouse" / ".tmp" / "spill"),
            "preserve_insertion_order": True,
        }
        engine = SharedDuckDBResource(database=":memory:", connection_config=config)
        return cls(home=str(home), duckdb=engine)

    def deterministic(self) -> Warehouse:
        """This warehouse with queries of one thread: equal rows give equal results, to the bit.

        With several threads, DuckDB adds doubles and fills lists in the order in which its threads
        finish: `sum`, `avg`, `list`, `first` and rows without an order differ from run to run.
        """
        config = {**self.duckdb.connection_config, "threads": 1, "preserve_insertion_order": True}
        engine = SharedDuckDBResource(database=":memory:", connection_config=config)
        return type(self)(home=self.home, duckdb=engine)

    @property
    def folder(self) -> Path:
        """The folder of the partitions, `<home>/warehouse`; of a bucket, of pointers to them."""
        home = Path(self.home)
        tables_of(home)
        return home / "warehouse"

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Before the steps of a process: others may have run on other machines."""
        self.refresh()

    def refresh(self) -> None:
        """Looks for what other machines have written to a home in a bucket.

        Raises:
            HomeError: the bucket cannot be read.
        """
        tables = tables_of(Path(self.home))
        if tables is not None and not tables.is_pinned:
            tables.bucket.pull()
            tables.pull()

    def versions(self) -> dict[str, int]:
        """The versions of the tables of a home in a bucket, by qualified name; of a local: none."""
        tables = tables_of(Path(self.home))
        if tables is None:
            return {}
        versions = {name: tables.version(table) for name, table in TABLES.items()}
        return {name: version for name, version in versions.items() if version >= 0}

    def at(self, release: Mapping[str, Any]) -> Warehouse:
        """The warehouse with the versions of the tables that a release was made of, to be read.

        Args:
            release: the release's manifest, or any mapping whose `versions` has versions of
                tables by qualified name, as `versions()` gives them.

        Raises:
            WarehouseError: the home is a folder, which has no versions; or one is gone.
        """
        tables = tables_of(Path(self.home))
        if tables is None or "versions" not in release:
            raise WarehouseError(
                "only a home in a bucket has earlier versions of its tables, of releases that were "
                "made there"
            )
        return type(self)(home=str(tables.pin(release["versions"])), duckdb=self.duckdb)

    def vacuum(
        self, since: dt.datetime | None = None, keep: Sequence[Mapping[str, Any]] = ()
    ) -> int:
        """Removes files of a bucket that no version since a time has; of a folder, nothing.

        Args:
            since: versions that were current then or later stay; None: only the newest.
            keep: manifests of releases whose versions stay in any case.

        Returns:
            The number of files.
        """
        tables = tables_of(Path(self.home))
        if tables is None:
            return 0
        kept: dict[str, list[int]] = {}
        for name, version in (item for m in keep for item in m.get("versions", {}).items()):
            kept.setdefault(name, []).append(version)
        if since is None:
            tables.cache.clear()
        tables.remove_pinned(since, [m["versions"] for m in keep if "versions" in m])
        return tables.vacuum(since, kept)

    # --- reading --------------------------------------------------------------------------------

    @contextmanager
    def connect(self, *, private: bool = False) -> Iterator[DuckDBPyConnection]:
        """An in-memory DuckDB connection whose default catalogue has the warehouse's views.

        It may create temporary tables; the warehouse is attached read-only.

        Args:
            private: whether the connection has a database of its own, to which functions of Python
                may be added. Else it shares one, which costs less.
        """
        try:
            db = self._open_connection(ensure_views(Path(self.home), self.folder), private=private)
        except DuckDBError:
            # The file is damaged: it has nothing but views.
            views = ensure_views(Path(self.home), self.folder, renew=True)
            db = self._open_connection(views, private=private)
        with db:
            yield db

    def _open_connection(self, views: Path, *, private: bool) -> DuckDBPyConnection:
        config = self.duckdb.connection_config
        if private:
            db = open_database(config)
            prepare_reads(db, tables_of(Path(self.home)))
            db.execute(f"attach {quote_literal(views)} as warehouse (read_only); use warehouse")
            return db
        stat = views.stat()
        version = views, stat.st_ino, stat.st_mtime_ns

        def prepare(db: DuckDBPyConnection) -> None:
            prepare_reads(db, tables_of(Path(self.home)))
            attach_copy(db, views)

        return open_cursor(config, version, prepare, "warehouse")

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of a query over the warehouse. Parameters are bound (`$name`)."""
        bound = used_parameters(sql, parameters)
        return self._with_retry(lambda db: db.sql(sql, params=bound).to_arrow_table())

    def frame(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The rows of a query as a pandas DataFrame, for notebooks.

        Days and times are datetime64; whole numbers with nulls are `Int64`, not decimals.
        """
        import pandas as pd

        whole = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}
        return self.query(sql, parameters).to_pandas(types_mapper=whole.get, date_as_object=False)

    @contextmanager
    def stream(
        self, sql: str, parameters: Mapping[str, Any] | None = None, batch_rows: int = 65_536
    ) -> Iterator[pa.RecordBatchReader]:
        """Streams the rows of a query as Arrow batches, in bounded memory.

        Args:
            sql: the query.
            parameters: values to bind to the query's `$name`; further ones are left out.
            batch_rows: rows of a batch.
        """
        bound = used_parameters(sql, parameters)
        with ExitStack() as stack:

            def open_reader(
                db: DuckDBPyConnection,
            ) -> tuple[pa.RecordBatchReader, list[pa.RecordBatch]]:
                reader = db.sql(sql, params=bound).to_arrow_reader(batch_rows)
                return reader, list(itertools.islice(reader, 1))

            reader, first = self._with_retry(open_reader, stack)
            batches = itertools.chain(first, reader)
            yield pa.RecordBatchReader.from_batches(reader.schema, batches)

    def value(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of a query's first row; None without rows."""
        bound = used_parameters(sql, parameters)
        row = self._with_retry(lambda db: db.execute(sql, bound).fetchone())
        return row[0] if row else None

    def _with_retry(
        self, read: Callable[[DuckDBPyConnection], Result], stack: ExitStack | None = None
    ) -> Result:
        """Reads from a new connection, which `stack`, if given, keeps open.

        DuckDB opens a file to plan a query and opens it again to read it. If it is replaced in
        between, the new file does not fit the plan and the query fails: it is tried again.
        """
        for attempt in range(READ_ATTEMPTS):
            with ExitStack() as attempt_stack:
                try:
                    result = read(attempt_stack.enter_context(self.connect()))
                except DuckDBError as error:
                    if attempt == READ_ATTEMPTS - 1 or not _is_concurrent_replace(error):
                        raise
                else:
                    if stack is not None:
                        stack.push(attempt_stack.pop_all())
                    return result
        raise AssertionError("unreachable")

    def partitions(self, table: Table) -> list[str]:
        """Keys of the written partitions, oldest first."""
        return partition_files.list_partitions(self.folder, table)

    def path(
        self, table: Table, partition: str | None = None, part: Mapping[str, str] | None = None
    ) -> Path:
        """The path of a partition's file, which need not exist.

        In a home in a bucket it is that of a pointer: who reads rows asks `file`.
        """
        return partition_files.path_of(self.folder, table, partition, part)

    def file(
        self, table: Table, partition: str | None = None, part: Mapping[str, str] | None = None
    ) -> Path:
        """A partition's Parquet file on this machine, to which it is downloaded if need be.

        Raises:
            FileNotFoundError: the partition is not written.
        """
        return local_file(self.path(table, partition, part))

    def digests(self, table: Table) -> PartitionDigests:
        """The digests of a table's partitions, by which their content is known."""
        return PartitionDigests(self.folder, table)

    # --- writing --------------------------------------------------------------------------------

    def replace_partition(
        self,
        table: Table,
        partition: str | None,
        rows: Rows,
        parameters: Mapping[str, Any] | None = None,
        *,
        part: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> WriteResult:
        """Replaces a partition atomically.

        Columns are matched by name; columns that the folder's name gives may be left out. Rows are
        sorted by the table's order. Without rows, a file without rows is written.

        Args:
            table: a declared table.
            partition: a date or week, YYYY-MM-DD; None for an unpartitioned table.
            rows: a query, Arrow, or Parquet shards.
            parameters: of the query.
            part: values of the table's further folders.
            metadata: is written to the file's footer.

        Raises:
            WarehouseError: columns are missing, unknown or mistyped, the key is not unique, or a
                row is of another partition. Nothing was written.
        """
        fixed = fixed_columns(table, partition, part)
        if isinstance(rows, str):
            bound = used_parameters(rows, parameters)
            return self._with_retry(
                lambda db: self._write_and_replace(
                    db,
                    table,
                    [partition],
                    typed_rows(db, table, rows, bound, fixed),
                    lambda _: bound,
                    part,
                    metadata,
                )[partition]
            )
        with self.connect() as db:
            if isinstance(rows, pa.Table | pa.RecordBatchReader):
                db.register("arrow_rows", rows)
                relation = "select * from arrow_rows"
            else:
                relation = select_from_parquet(rows)
            select = typed_rows(db, table, relation, {}, fixed)
            written = self._write_and_replace(
                db, table, [partition], select, lambda _: {}, part, metadata
            )
            return written[partition]

    def replace_partitions(
        self,
        table: Table,
        partitions: Sequence[str],
        rows: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        db: DuckDBPyConnection | None = None,
        part: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> dict[str, WriteResult]:
        """Replaces many partitions from one query, each atomically.

        The query runs once; a partition without rows becomes a file without rows.

        Args:
            table: a declared table with partitions.
            partitions: dates or weeks, YYYY-MM-DD.
            rows: a query.
            parameters: of the query.
            db: a connection of this warehouse with temporary tables that the query reads.
            part: values of the table's further folders.
            metadata: is written to the footers.

        Raises:
            WarehouseError: as `replace_partition`, or a row is of no partition in `partitions`.
        """
        if db is None:
            return self._with_retry(
                lambda connection: self.replace_partitions(
                    table, partitions, rows, parameters, db=connection, part=part, metadata=metadata
                )
            )
        assert table.partition, f"{table.qualified} has no partitions"
        column = table.partition
        staged = f"staged_{uuid.uuid4().hex}"
        db.execute(f"create temp table {staged} as {rows}", used_parameters(rows, parameters))
        try:
            check_partition_column(db, table, staged, partitions)
            relation = f"select * from temp.{staged} where {column} = $partition_key::DATE"
            # The columns are those of the staged table, the same for each partition.
            fixed = fixed_columns(table, None, part)
            select = typed_rows(db, table, relation, {"partition_key": None}, fixed)
            # A commit to a bucket takes as long as many partitions on a disk.
            is_one_commit = tables_of(Path(self.home)) is not None
            groups = [list(partitions)] if is_one_commit else [[key] for key in partitions]
            return {
                key: result
                for keys in groups
                for key, result in self._write_and_replace(
                    db, table, keys, select, lambda key: {"partition_key": key}, part, metadata
                ).items()
            }
        finally:
            db.execute(f"drop table temp.{staged}")

    def remove_partition(
        self, table: Table, partition: str | None, part: Mapping[str, str] | None = None
    ) -> bool:
        """Removes a partition's file. Returns whether it existed.

        Args:
            table: the table.
            partition: the partition's key, an ISO date; None for a table without partitions.
            part: values of the columns that divide a partition further; None: it has no parts.
        """
        path = self.path(table, partition, part)
        exists = path.exists()
        if exists:
            self._remove(table, [path])
        return exists

    def replace_files(
        self, table: Table, drafts: Mapping[Path, Path], rows: Mapping[Path, int]
    ) -> None:
        """Moves finished files to where partitions have theirs; in a bucket, by one commit.

        Args:
            table: the table.
            drafts: the files, on the home's disk, by the paths of partitions as `path` gives them.
            rows: number of rows by the same paths.

        Raises:
            WarehouseError: another machine has replaced one of the partitions in the bucket.
        """
        tables = tables_of(Path(self.home))
        if tables is not None and drafts:
            tables.commit(table, drafts, rows)
            return
        self.digests(table).record(drafts)
        for path, draft in drafts.items():
            partition_files.replace_file(draft, path, Path(self.home))

    def remove_files(self, table: Table, paths: Sequence[Path]) -> None:
        """Removes files of partitions, which nobody writes meanwhile, and folders left empty.

        Args:
            table: the table.
            paths: of partitions, as `path` gives them; from a bucket, all are removed at once.
        """
        self._remove(table, paths)
        for path in paths:
            partition_files.remove_empty_folders(path, self.folder / table.schema / table.name)

    def _remove(self, table: Table, paths: Sequence[Path]) -> None:
        tables = tables_of(Path(self.home))
        if tables is not None and paths:
            tables.commit(table, dict.fromkeys(paths), {})
        for path in paths:
            path.unlink(missing_ok=True)

    def drop_partition(self, table: Table, partition: str) -> None:
        """Removes a partition with all its parts; of a reader's queries, whole or not at all."""
        folder = self.folder / table.schema / table.name / f"{table.partition}={partition}"
        if tables_of(Path(self.home)) is not None:
            self.remove_files(table, [*folder.rglob("data.parquet")])
            return
        with partition_files.scratch_dir(self.folder) as scratch:
            if folder.is_dir():
                folder.replace(scratch / "removed")
                fsync_folder(folder.parent)

    def _write_and_replace(
        self,
        db: DuckDBPyConnection,
        table: Table,
        partitions: Sequence[Key],
        select: str,
        bound_to: Callable[[Key], dict[str, Any]],
        part: Mapping[str, str] | None,
        metadata: Mapping[str, str] | None,
    ) -> dict[Key, WriteResult]:
        """Writes the rows of a query, made by `typed_rows`, to drafts that replace partitions."""
        results = {}
        with partition_files.scratch_dir(self.folder) as scratch:
            drafts = {}
            for number, key in enumerate(partitions):
                draft, target = scratch / f"{number}.parquet", self.path(table, key, part)
                fixed = fixed_columns(table, key, part)
                rows = write_draft(db, table, draft, select, bound_to(key), fixed, metadata)
                # An unchanged file keeps its time, so that nothing downstream becomes stale.
                changed = not has_rows_of(draft, target)
                if changed:
                    drafts[target] = draft
                results[key] = WriteResult(table, key, rows, target, changed)
            self.replace_files(table, drafts, {r.path: r.rows for r in results.values()})
        return results

    def metadata(
        self, table: Table, partition: str | None, part: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The metadata of a partition's file; empty if the partition was not written."""
        path = self.path(table, partition, part)
        if not path.exists():
            return {}
        with self.duckdb.get_connection() as db:
            rows = db.execute(
                "select key, value from parquet_kv_metadata(?)", [escape_pattern(local_file(path))]
            )
            return {key.decode(): value.decode() for key, value in rows.fetchall()}


def _is_concurrent_replace(error: DuckDBError) -> bool:
    """Returns whether an error may come from a file that was replaced during the query."""
    if isinstance(error, InvalidInputException):
        return "read file" in str(error)
    # Fatal: the query of another thread failed, and with it the shared database.
    kinds = IOException | InternalException | FatalException
    return type(error) is DuckDBError or isinstance(error, kinds)


def as_date(key: str) -> dt.date:
    """The date of a partition key."""
    return dt.date.fromisoformat(key)
