"""The warehouse: DuckDB over one Parquet file per partition.

A partition is written beside its place, fsynced and renamed into it, so a reader sees the old rows
or the new ones, whole, whatever is killed and whenever; writers of different partitions run side
by side. `<home>/warehouse.duckdb` holds one view per declared table over those files and nothing
else; queries attach it read-only, analysts open it.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import dagster as dg
import pyarrow as pa
from dagster_duckdb import DuckDBResource
from duckdb import (
    ConversionException,
    DuckDBPyConnection,
    InternalException,
    InvalidInputException,
    IOException,
    OutOfRangeException,
)
from duckdb import Error as DuckDBError
from duckdb import connect as open_database

from batch_predictions.home import fsync_folder
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES, Table
from batch_predictions.warehouse import partition_files
from batch_predictions.warehouse.schema_sql import (
    WarehouseError,
    check_rows,
    escape_literal,
    fixed_columns,
    select_from_parquet,
    typed_rows,
    used_parameters,
    view_sql,
)

Rows: TypeAlias = str | pa.Table | pa.RecordBatchReader | Sequence[Path]
"""What a partition is written from: a query, Arrow, or Parquet shards."""

Answer = TypeVar("Answer")
TRIES = 10


@dataclass(frozen=True)
class WriteResult:
    """A partition that was written: its file, its rows, and whether they differ from before."""

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
        """The warehouse of a home folder, with the engine's bounds from its settings."""
        home = settings.home.absolute()
        config = {
            "memory_limit": settings.duckdb.memory_limit,
            "threads": settings.duckdb.threads,
            "temp_directory": str(home / "warehouse" / ".tmp" / "spill"),
            "preserve_insertion_order": True,
        }
        engine = DuckDBResource(database=":memory:", connection_config=config)
        return cls(home=str(home), duckdb=engine)

    @property
    def folder(self) -> Path:
        """`<home>/warehouse`."""
        return Path(self.home) / "warehouse"

    # --- reading --------------------------------------------------------------------------------

    @contextmanager
    def connect(self) -> Iterator[DuckDBPyConnection]:
        """An in-memory DuckDB whose default catalogue is the views over the warehouse.

        Temporary tables may be made in it; nothing it does changes the warehouse.
        """
        views = self.ensure_views()
        with self.duckdb.get_connection() as db:
            db.execute("set timezone = 'UTC'")
            db.execute(f"attach '{escape_literal(views)}' as warehouse (read_only)")
            db.execute("use warehouse")
            yield db

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of a query over the warehouse, as Arrow. Parameters are bound (`$name`)."""
        bound = used_parameters(sql, parameters)
        return self._with_retry(lambda db: db.sql(sql, params=bound).to_arrow_table())

    @contextmanager
    def stream(
        self, sql: str, parameters: Mapping[str, Any] | None = None, batch_rows: int = 65_536
    ) -> Iterator[pa.RecordBatchReader]:
        """The rows of a query as a stream of Arrow batches: memory stays bounded."""
        bound = used_parameters(sql, parameters)
        with ExitStack() as stack:

            def begin(
                db: DuckDBPyConnection,
            ) -> tuple[pa.RecordBatchReader, list[pa.RecordBatch]]:
                reader = db.sql(sql, params=bound).to_arrow_reader(batch_rows)
                return reader, list(itertools.islice(reader, 1))

            reader, first = self._with_retry(begin, stack)
            batches = itertools.chain(first, reader)
            yield pa.RecordBatchReader.from_batches(reader.schema, batches)

    def value(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of a query's first row; None where there is none."""
        bound = used_parameters(sql, parameters)
        row = self._with_retry(lambda db: db.execute(sql, bound).fetchone())
        return row[0] if row else None

    def _with_retry(
        self, read: Callable[[DuckDBPyConnection], Answer], stack: ExitStack | None = None
    ) -> Answer:
        """An answer from a new connection, which stays open for as long as `stack`, if given.

        DuckDB opens a file to plan a query and opens it again to read: where it was replaced in
        between, the new bytes do not fit the plan and the query fails, so it is asked again.
        """
        for left in reversed(range(TRIES)):
            with ExitStack() as own:
                try:
                    answer = read(own.enter_context(self.connect()))
                except DuckDBError as error:
                    if not left or not _is_concurrent_replace(error):
                        raise
                else:
                    if stack is not None:
                        stack.push(own.pop_all())
                    return answer
        raise AssertionError("unreachable")

    def partitions(self, table: Table) -> list[str]:
        """Keys of the partitions that were written, oldest first."""
        return partition_files.list_partitions(self.folder, table)

    def path(
        self, table: Table, partition: str | None = None, part: Mapping[str, str] | None = None
    ) -> Path:
        """Where a partition's file lies, whether it was written or not."""
        return partition_files.path_of(self.folder, table, partition, part)

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
        """Replaces a partition by rows, whole or not at all.

        Columns are matched by name; columns that stand in the folder's name may be left out. Rows
        are sorted by the table's order. No rows make a file without rows. `metadata` is kept in
        the file's footer.

        Raises:
            WarehouseError: columns are missing, unknown or mistyped, the key is not unique, or a
                row is of another partition. Nothing was written.
        """
        if isinstance(rows, str):
            bound = used_parameters(rows, parameters)
            return self._with_retry(
                lambda db: self._write_and_replace(
                    db, table, partition, rows, bound, part, metadata
                )
            )
        with self.connect() as db:
            if isinstance(rows, pa.Table | pa.RecordBatchReader):
                db.register("arrow_rows", rows)
                relation = "select * from arrow_rows"
            else:
                relation = select_from_parquet(rows)
            return self._write_and_replace(db, table, partition, relation, {}, part, metadata)

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
        """Replaces many partitions from one query, each whole or not at all.

        The query is run once; a partition without rows becomes an empty file. `db` is a
        connection of this warehouse that holds temporary tables the query names.

        Raises:
            WarehouseError: as `replace_partition`, or rows outside the partitions asked for.
        """
        if db is None:
            return self._with_retry(
                lambda own: self.replace_partitions(
                    table, partitions, rows, parameters, db=own, part=part, metadata=metadata
                )
            )
        assert table.partition, f"{table.qualified} has no partitions"
        column = table.partition
        staged = f"staged_{uuid.uuid4().hex}"
        db.execute(f"create temp table {staged} as {rows}", used_parameters(rows, parameters))
        try:
            there = db.execute(f"describe temp.{staged}").fetchall()
            if column not in {row[0] for row in there}:
                raise WarehouseError(f"rows do not fit {table.qualified} (missing: {column})")
            stray = db.execute(
                f"select {column}, count(*) from temp.{staged} "
                f"where {column} is null or not list_contains($keys::DATE[], {column}::DATE) "
                "group by all order by all limit 1",
                {"keys": list(partitions)},
            ).fetchone()
            if stray:
                raise WarehouseError(
                    f"{table.qualified}: {stray[1]} rows have {column} {stray[0]}, which is not "
                    f"among the {len(partitions)} partitions written"
                )
            select = f"select * from temp.{staged} where {column} = $partition_key::DATE"
            return {
                key: self._write_and_replace(
                    db, table, key, select, {"partition_key": key}, part, metadata
                )
                for key in partitions
            }
        finally:
            db.execute(f"drop table temp.{staged}")

    def remove_partition(
        self, table: Table, partition: str | None, part: Mapping[str, str] | None = None
    ) -> bool:
        """Removes a partition's file; whether there was one."""
        path = self.path(table, partition, part)
        there = path.exists()
        path.unlink(missing_ok=True)
        return there

    def _write_and_replace(
        self,
        db: DuckDBPyConnection,
        table: Table,
        partition: str | None,
        relation: str,
        bound: dict[str, Any],
        part: Mapping[str, str] | None,
        metadata: Mapping[str, str] | None,
    ) -> WriteResult:
        target = self.path(table, partition, part)
        fixed = fixed_columns(table, partition, part)
        select = typed_rows(db, table, relation, bound, fixed)
        with partition_files.scratch_dir(self.folder) as work:
            draft = work / "data.parquet"
            footer = ""
            if metadata:
                pairs = ", ".join(
                    f"{k}: '{escape_literal(v)}'" for k, v in sorted(metadata.items())
                )
                footer = f", kv_metadata {{{pairs}}}"
            try:
                copied = db.execute(
                    f"copy ({select}) to '{escape_literal(draft)}' "
                    f"(format parquet, compression zstd{footer})",
                    bound,
                ).fetchone()
            except (ConversionException, OutOfRangeException) as error:
                raise WarehouseError(f"{table.qualified}: {_first_line(error)}") from error
            check_rows(db, table, draft, fixed)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            # A file that stays keeps its time, so nothing downstream looks stale.
            changed = not (target.exists() and partition_files.files_equal(draft, target))
            if changed:
                target.parent.mkdir(parents=True, exist_ok=True)
                draft.replace(target)
                fsync_folder(target.parent)
        return WriteResult(table, partition, copied[0] if copied else 0, target, changed)

    def metadata(
        self, table: Table, partition: str | None, part: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The metadata that a partition was written with; empty where it was not written."""
        path = self.path(table, partition, part)
        if not path.exists():
            return {}
        with self.duckdb.get_connection() as db:
            rows = db.execute("select key, value from parquet_kv_metadata(?)", [str(path)])
            return {key.decode(): value.decode() for key, value in rows.fetchall()}

    # --- views ----------------------------------------------------------------------------------

    def ensure_views(self) -> Path:
        """`<home>/warehouse.duckdb`, rewritten by rename where a declared table is not in it."""
        path = Path(self.home) / "warehouse.duckdb"
        wanted = {name: view_sql(table, self.folder) for name, table in TABLES.items()}
        stamp = path.with_suffix(".views")
        text = "\n".join(wanted[name] for name in sorted(wanted))
        # Another process may have declared more tables: a superset of ours is as good.
        held = stamp.read_text(encoding="utf-8") if stamp.exists() and path.exists() else ""
        if held == text or set(text.splitlines()) <= set(held.splitlines()):
            return path
        for table in TABLES.values():
            (self.folder / table.schema / table.name).mkdir(parents=True, exist_ok=True)
        with partition_files.scratch_dir(self.folder) as work:
            with open_database(str(work / "views.duckdb")) as db:
                for schema in sorted({table.schema for table in TABLES.values()}):
                    db.execute(f"create schema {schema}")
                for statement in wanted.values():
                    db.execute(statement)
            (work / "views").write_text(text, encoding="utf-8")
            (work / "views.duckdb").replace(path)
            (work / "views").replace(stamp)
        return path


def _is_concurrent_replace(error: DuckDBError) -> bool:
    """Whether an error may come from a file that was replaced while it was read."""
    if isinstance(error, InvalidInputException):
        return "read file" in str(error)
    return type(error) is DuckDBError or isinstance(error, IOException | InternalException)


def as_date(key: str) -> dt.date:
    """The date of a partition key."""
    return dt.date.fromisoformat(key)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
