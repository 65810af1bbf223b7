"""Finds partition files that cannot be read, or do not have their table's columns.

A file is verified when it is new or has another size or time than when it was last verified; the
verified ones are kept in `<home>/warehouse/.verified.json`, with the columns that their tables had
then: files that lack a column that was declared later are whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.home import HomeError
from batch_predictions.tables import TABLES, Table
from batch_predictions.tables.discovery import is_of_settings
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.delta_tables import local_file, tables_of
from batch_predictions.warehouse.partition_files import scratch_dir
from batch_predictions.warehouse.path_sql import quote_literal

if TYPE_CHECKING:
    import pyarrow as pa

Signature = tuple[int, int]
"""Size and modification time in ns of a file."""


@dataclass(frozen=True)
class DamagedFile:
    """A partition's file that cannot be used.

    Attributes:
        table: its table.
        values: partition and further columns that its folders give, such as {date: 2026-11-24}.
        path: the file.
        reason: why it cannot be used.
    """

    table: Table
    values: Mapping[str, str]
    path: Path
    reason: str

    @property
    def partition(self) -> str | None:
        """The partition's key; None for a table without partitions."""
        return self.values.get(self.table.partition) if self.table.partition else None

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class _Verified:
    """The record of verified files: the columns of tables, and signatures of whole files.

    Attributes:
        columns: by table, the columns that its files must have.
        files: by name, the signature that a whole file had.
    """

    columns: dict[str, list[str]]
    files: dict[str, Signature]


def find_damaged(
    warehouse: Warehouse,
    *,
    thorough: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[DamagedFile]:
    """The damaged files of all declared tables.

    Args:
        warehouse: the warehouse.
        thorough: whether every row of every file is read; else the footers of files that are new
            or have changed since they were last verified, and none of a bucket: what is downloaded
            from there is compared with its hash.
        on_progress: called with the number of files verified so far, and of those to verify.
    """
    if not thorough and tables_of(Path(warehouse.home)) is not None:
        return []
    paths_of = {table: _files(warehouse, table) for table in TABLES.values()}
    paths_of = {table: paths for table, paths in paths_of.items() if paths}
    signatures = {_name(warehouse, p): _signature(p) for paths in paths_of.values() for p in paths}
    old = _read_verified(warehouse)
    known = {} if thorough else old.files
    due = {name for name, signature in signatures.items() if known.get(name) != signature}
    new = _Verified(dict(old.columns), signatures)
    damaged: list[DamagedFile] = []
    done = 0
    for table, all_paths in paths_of.items():
        paths = [path for path in all_paths if _name(warehouse, path) in due]
        if not paths:
            continue
        schema = _expected_schema(warehouse, table)
        required = new.columns.setdefault(table.qualified, _columns_of_oldest(table, all_paths))
        for path in paths:
            # Settings change the columns of tables that they declare: files of before are whole.
            needed = () if is_of_settings(table) else {*required, *table.key}
            reason = _problem(path, schema, needed, thorough=thorough)
            if reason:
                damaged.append(DamagedFile(table, _values(path), path, reason))
                del new.files[_name(warehouse, path)]
            done += 1
            if on_progress:
                on_progress(done, len(due))
    if new != old:
        _write_verified(warehouse, new)
    return damaged


def _columns_of_oldest(table: Table, paths: Sequence[Path]) -> list[str]:
    """Columns that all files of a table must have: those of the oldest file that can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    declared = [column.name for column in table.columns]
    for path in paths:
        try:
            names = pq.read_schema(local_file(path)).names
        except (OSError, HomeError, pa.ArrowException):
            continue
        return [name for name in declared if name in names]
    return declared


def _files(warehouse: Warehouse, table: Table) -> list[Path]:
    folder = warehouse.folder / table.schema / table.name
    depth = "/".join((*(f"{name}=*" for name in table.folders), "data.parquet"))
    return sorted(folder.glob(depth))


def _values(path: Path) -> dict[str, str]:
    """Column to value of the folders of a file, such as `date=2026-11-24`."""
    parts = (part.partition("=") for part in path.parts if "=" in part)
    return {name: value for name, _, value in parts}


def _problem(
    path: Path, expected: pa.Schema, required: Collection[str], *, thorough: bool
) -> str | None:
    """Why a file cannot be used; None if it can.

    Args:
        path: the file.
        expected: the schema of the declared columns.
        required: columns that it must have; it may lack others. Empty: it may have any columns.
        thorough: whether every row is read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(local_file(path)) as file:
            schema = file.schema_arrow
            if thorough:
                for _ in file.iter_batches():
                    pass
    except (OSError, HomeError, pa.ArrowException) as error:
        return f"cannot be read ({str(error).splitlines()[0].rstrip('.')})"
    lacking = [n for n in expected.names if n in required and n not in schema.names]
    if lacking:
        return f"lacks the columns {', '.join(lacking)}"
    unknown = [name for name in schema.names if name not in expected.names]
    if unknown and required:
        return f"has columns that are not declared: {', '.join(unknown)}"
    for name in (name for name in schema.names if name in expected.names):
        actual, declared = schema.field(name).type, expected.field(name).type
        if actual != declared:
            return f"has {name} as {actual}, not as {declared}"
    return None


def _expected_schema(warehouse: Warehouse, table: Table) -> pa.Schema:
    """The schema of a file as the warehouse writes it."""
    import pyarrow.parquet as pq

    nulls = ", ".join(f'null::{column.type} as "{column.name}"' for column in table.columns)
    with scratch_dir(warehouse.folder) as scratch, warehouse.duckdb.get_connection() as db:
        path = scratch / "schema.parquet"
        db.execute(f"copy (select {nulls} where false) to {quote_literal(path)} (format parquet)")
        return pq.read_schema(path)


def _signature(path: Path) -> Signature:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _name(warehouse: Warehouse, path: Path) -> str:
    return str(path.relative_to(warehouse.folder))


def _verified_path(warehouse: Warehouse) -> Path:
    return warehouse.folder / ".verified.json"


def _read_verified(warehouse: Warehouse) -> _Verified:
    try:
        read = json.loads(_verified_path(warehouse).read_text(encoding="utf-8"))
        files = {name: (int(size), int(time)) for name, (size, time) in read["files"].items()}
        columns = {name: [str(column) for column in cs] for name, cs in read["columns"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return _Verified({}, {})  # All files are verified again.
    return _Verified(columns, files)


def _write_verified(warehouse: Warehouse, verified: _Verified) -> None:
    path = _verified_path(warehouse)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps({"columns": verified.columns, "files": verified.files}))
