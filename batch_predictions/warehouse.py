"""The warehouse: DuckDB over one Parquet file per partition.

A partition is written beside its place, fsynced and renamed into it, so a reader sees the old rows
or the new ones, whole, whatever is killed and whenever; writers of different partitions run side
by side. `<home>/warehouse.duckdb` holds one view per declared table over those files and nothing
else; queries attach it read-only, analysts open it.
"""

from __future__ import annotations

import datetime as dt
import filecmp
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import dagster as dg
import pyarrow as pa
from dagster_duckdb import DuckDBResource
from duckdb import ConversionException, DuckDBPyConnection, OutOfRangeException
from duckdb import connect as open_database

from batch_predictions.home import fsync_folder
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES, Table

Rows: TypeAlias = str | pa.Table | pa.RecordBatchReader | Sequence[Path]
"""What a partition is written from: a query, Arrow, or Parquet shards."""

# Types that a declared column takes without loss, besides its own.
_WIDENS: dict[str, str] = {
    "BIGINT": r"INTEGER|SMALLINT|TINYINT|UINTEGER|USMALLINT|UTINYINT",
    "DOUBLE": r"FLOAT|DECIMAL\(.*\)|BIGINT|INTEGER|SMALLINT|TINYINT|HUGEINT|UBIGINT|UINTEGER",
    "VARCHAR": r"ENUM\(.*\)|JSON|UUID",
    "JSON": r"VARCHAR",
    "TIMESTAMP": r"TIMESTAMP_S|TIMESTAMP_MS|TIMESTAMP_NS",
}


class WarehouseError(ValueError):
    """Rows do not fit the table they were to be written to; nothing was written."""


@dataclass(frozen=True)
class Written:
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
            db.execute(f"attach '{_quoted(views)}' as warehouse (read_only)")
            db.execute("use warehouse")
            yield db

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of a query over the warehouse, as Arrow. Parameters are bound (`$name`)."""
        with self.connect() as db:
            return db.sql(sql, params=_named(sql, parameters)).to_arrow_table()

    @contextmanager
    def stream(
        self, sql: str, parameters: Mapping[str, Any] | None = None, batch_rows: int = 65_536
    ) -> Iterator[pa.RecordBatchReader]:
        """The rows of a query as a stream of Arrow batches: memory stays bounded."""
        with self.connect() as db:
            yield db.sql(sql, params=_named(sql, parameters)).to_arrow_reader(batch_rows)

    def value(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of a query's first row; None where there is none."""
        with self.connect() as db:
            row = db.execute(sql, _named(sql, parameters)).fetchone()
        return row[0] if row else None

    def partitions(self, table: Table) -> list[str]:
        """Keys of the partitions that were written, oldest first."""
        prefix = f"{table.partition}="
        folder = self.folder / table.schema / table.name
        if not table.partition or not folder.is_dir():
            return []
        depth = "/*" * len(table.parts)
        written = (path for path in folder.glob(f"{prefix}*{depth}/data.parquet"))
        return sorted({path.relative_to(folder).parts[0].removeprefix(prefix) for path in written})

    def path(
        self, table: Table, partition: str | None = None, part: Mapping[str, str] | None = None
    ) -> Path:
        """Where a partition's file lies, whether it was written or not."""
        values = _fixed(table, partition, part)
        if set(values) != set(table.folders) or None in values.values():
            raise WarehouseError(
                f"{table.qualified} is divided by {table.folders or 'nothing'}, "
                f"not by {tuple(values)}"
            )
        if table.partition and not _is_day(str(partition)):
            raise WarehouseError(
                f"{table.qualified}: {table.partition}={partition!r} is not a day, YYYY-MM-DD"
            )
        folder = self.folder / table.schema / table.name
        for name in table.folders:
            value = str(values[name])
            if not re.fullmatch(r"[\w.:@+-]+", value) or value.startswith("."):
                raise WarehouseError(f"{table.qualified}: {name}={value!r} cannot name a folder")
            folder /= f"{name}={value}"
        return folder / "data.parquet"

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
    ) -> Written:
        """Replaces a partition by rows, whole or not at all.

        Columns are matched by name; columns that stand in the folder's name may be left out. Rows
        are sorted by the table's order. No rows make a file without rows. `metadata` is kept in
        the file's footer.

        Raises:
            WarehouseError: columns are missing, unknown or mistyped, the key is not unique, or a
                row is of another partition. Nothing was written.
        """
        with self.connect() as db:
            if isinstance(rows, str):
                relation, bound = rows, dict(_named(rows, parameters))
            elif isinstance(rows, pa.Table | pa.RecordBatchReader):
                db.register("arrow_rows", rows)
                relation, bound = "select * from arrow_rows", {}
            else:
                relation, bound = _shards(rows), {}
            return self._swap(db, table, partition, relation, bound, part, metadata)

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
    ) -> dict[str, Written]:
        """Replaces many partitions from one query, each whole or not at all.

        The query is run once; a partition without rows becomes an empty file. `db` is a
        connection of this warehouse that holds temporary tables the query names.

        Raises:
            WarehouseError: as `replace_partition`, or rows outside the partitions asked for.
        """
        if db is None:
            with self.connect() as own:
                return self.replace_partitions(
                    table, partitions, rows, parameters, db=own, part=part, metadata=metadata
                )
        assert table.partition, f"{table.qualified} has no partitions"
        column = table.partition
        staged = f"staged_{uuid.uuid4().hex}"
        db.execute(f"create temp table {staged} as {rows}", _named(rows, parameters))
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
                key: self._swap(db, table, key, select, {"partition_key": key}, part, metadata)
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

    def _swap(
        self,
        db: DuckDBPyConnection,
        table: Table,
        partition: str | None,
        relation: str,
        bound: dict[str, Any],
        part: Mapping[str, str] | None,
        metadata: Mapping[str, str] | None,
    ) -> Written:
        target = self.path(table, partition, part)
        fixed = _fixed(table, partition, part)
        select = _typed(db, table, relation, bound, fixed)
        with self._workplace() as work:
            draft = work / "data.parquet"
            footer = ""
            if metadata:
                pairs = ", ".join(f"{k}: '{_quoted(v)}'" for k, v in sorted(metadata.items()))
                footer = f", kv_metadata {{{pairs}}}"
            try:
                copied = db.execute(
                    f"copy ({select}) to '{_quoted(draft)}' "
                    f"(format parquet, compression zstd{footer})",
                    bound,
                ).fetchone()
            except (ConversionException, OutOfRangeException) as error:
                raise WarehouseError(f"{table.qualified}: {_first_line(error)}") from error
            _check_rows(db, table, draft, fixed)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            # Equal rows give equal bytes; a file that stays keeps its time, so nothing downstream
            # looks stale.
            changed = not (target.exists() and filecmp.cmp(draft, target, shallow=False))
            if changed:
                target.parent.mkdir(parents=True, exist_ok=True)
                draft.replace(target)
                fsync_folder(target.parent)
        return Written(table, partition, copied[0] if copied else 0, target, changed)

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

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        """A folder of this process's own for drafts; left-overs of dead processes are swept."""
        root = self.folder / ".tmp"
        host = socket.gethostname()
        for left in root.glob(f"{host}-*-*") if root.is_dir() else ():
            pid = left.name.removeprefix(f"{host}-").split("-")[0]
            if pid.isdigit() and not _alive(int(pid)):
                shutil.rmtree(left, ignore_errors=True)
        work = root / f"{host}-{os.getpid()}-{uuid.uuid4().hex}"
        work.mkdir(parents=True)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    # --- views ----------------------------------------------------------------------------------

    def ensure_views(self) -> Path:
        """`<home>/warehouse.duckdb`, rewritten by rename where a declared table is not in it."""
        path = Path(self.home) / "warehouse.duckdb"
        wanted = {name: _view(table, self.folder) for name, table in TABLES.items()}
        stamp = path.with_suffix(".views")
        text = "\n".join(wanted[name] for name in sorted(wanted))
        # Another process may have declared more tables: a superset of ours is as good.
        held = stamp.read_text(encoding="utf-8") if stamp.exists() and path.exists() else ""
        if held == text or set(text.splitlines()) <= set(held.splitlines()):
            return path
        for table in TABLES.values():
            (self.folder / table.schema / table.name).mkdir(parents=True, exist_ok=True)
        with self._workplace() as work:
            with open_database(str(work / "views.duckdb")) as db:
                for schema in sorted({table.schema for table in TABLES.values()}):
                    db.execute(f"create schema {schema}")
                for statement in wanted.values():
                    db.execute(statement)
            (work / "views").write_text(text, encoding="utf-8")
            (work / "views.duckdb").replace(path)
            (work / "views").replace(stamp)
        return path


def _fixed(
    table: Table, partition: str | None, part: Mapping[str, str] | None
) -> dict[str, str | None]:
    """Values of the columns that stand in the folder's name."""
    fixed: dict[str, str | None] = {}
    if table.partition:
        fixed[table.partition] = partition
    fixed.update(part or {})
    return fixed


def _view(table: Table, folder: Path) -> str:
    """One line of SQL: a view that is typed when empty and takes files that come later."""
    glob = folder / table.schema / table.name
    for name in table.folders:
        glob /= f"{name}=*"
    casts = ", ".join(f'"{c.name}"::{c.type} as "{c.name}"' for c in table.columns)
    nulls = ", ".join(f'null::{c.type} as "{c.name}"' for c in table.columns)
    hive = ", ".join(f"'{name}': {table.type_of(name)}" for name in table.folders)
    hive = f", hive_partitioning=true, hive_types={{{hive}}}" if hive else ""
    return (
        f"create view {table.qualified} as select {casts} from (select {nulls} where false "
        f"union all by name select * from read_parquet('{_quoted(glob / 'data.parquet')}', "
        f"allow_empty=true, union_by_name=true{hive}))"
    )


def _typed(
    db: DuckDBPyConnection,
    table: Table,
    relation: str,
    bound: Mapping[str, Any],
    fixed: Mapping[str, str | None],
) -> str:
    """A query for the relation's rows with the declared columns, types and order."""
    there = {row[0]: row[1] for row in db.execute(f"describe {relation}", dict(bound)).fetchall()}
    wanted = {column.name: column.type for column in table.columns}
    missing = [name for name in wanted if name not in there and name not in fixed]
    unknown = [name for name in there if name not in wanted]
    mistyped = [
        f"{name} is {there[name]}, declared {wanted[name]}"
        for name in wanted
        if name in there and name not in fixed and not _fits(there[name], wanted[name])
    ]
    problems = [
        *([f"missing: {', '.join(missing)}"] if missing else []),
        *([f"not declared: {', '.join(unknown)}"] if unknown else []),
        *mistyped,
    ]
    if problems:
        raise WarehouseError(
            f"rows do not fit {table.qualified} ({'; '.join(problems)}): correct the rows, or the "
            "declaration in tables.py"
        )
    casts = []
    for name, type_ in wanted.items():
        if name in there:
            casts.append(f'"{name}"::{type_} as "{name}"')
        elif name in fixed:
            casts.append(f"'{_quoted(str(fixed[name]))}'::{type_} as \"{name}\"")
    order = table.order or table.key or tuple(c.name for c in table.columns)
    by = ", ".join(f'"{name}"' for name in order if name not in fixed)
    return f"select {', '.join(casts)} from ({relation}) as rows_ order by {by}"


def _check_rows(
    db: DuckDBPyConnection, table: Table, draft: Path, fixed: Mapping[str, str | None]
) -> None:
    """Refuses a draft with rows of another partition, or whose key is not unique."""
    # Hive partitioning is off: the folder's value would hide a different one in the file.
    source = f"read_parquet('{_quoted(draft)}', hive_partitioning=false)"
    for name, value in fixed.items():
        other = db.execute(
            f'select "{name}", count(*) from {source} '
            f'where "{name}" is distinct from $value::{table.type_of(name)} '
            "group by all order by all limit 1",
            {"value": value},
        ).fetchone()
        if other:
            raise WarehouseError(
                f"{table.qualified}: {other[1]} rows have {name} {other[0]}, not {value}"
            )
    if table.key:
        key = ", ".join(f'"{name}"' for name in table.key)
        twice = db.execute(
            f"select {key}, count(*) from {source} group by {key} having count(*) > 1 limit 1"
        ).fetchone()
        if twice:
            raise WarehouseError(
                f"{table.qualified}: key ({', '.join(table.key)}) is not unique: "
                f"{tuple(map(str, twice[:-1]))} stands {twice[-1]} times"
            )


def _shards(paths: Sequence[Path]) -> str:
    if not paths:
        raise WarehouseError("no shards were given: write an empty shard for an empty partition")
    files = ", ".join(f"'{_quoted(path)}'" for path in paths)
    return f"select * from read_parquet([{files}], hive_partitioning=false)"


def _fits(there: str, wanted: str) -> bool:
    if there == wanted or there.strip('"') == "NULL":
        return True
    if there.endswith("[]") and wanted.endswith("[]"):
        return _fits(there[:-2], wanted[:-2])
    return re.fullmatch(_WIDENS.get(wanted, "(?!)"), there) is not None


def _named(sql: str, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """The parameters that the query names; DuckDB refuses those that it does not."""
    names = set(re.findall(r"\$([a-z_]\w*)", sql))
    given = {**(parameters or {})}
    return {name: value for name, value in given.items() if name in names}


def _quoted(value: object) -> str:
    """Text within single quotes in SQL, for paths, which cannot be bound in COPY and views."""
    return str(value).replace("'", "''")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def tables_in(sql: str) -> set[str]:
    """Declared tables that a query reads, found in its syntax tree.

    Raises:
        ValueError: the query is not SQL.
    """
    with open_database() as db:
        row = db.execute("select json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
    assert row is not None
    tree = json.loads(row[0])
    if tree.get("error"):
        raise ValueError(f"not a query: {tree.get('error_message')}\n{sql}")
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "BASE_TABLE":
                found.add(f"{node.get('schema_name')}.{node.get('table_name')}")
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(tree)
    return {name for name in found if name in TABLES}


def _is_day(key: str) -> bool:
    """Whether a key is a day in the one form that partitions are named in."""
    try:
        return dt.date.fromisoformat(key).isoformat() == key
    except ValueError:
        return False


def as_date(key: str) -> dt.date:
    """The date of a partition key."""
    return dt.date.fromisoformat(key)
