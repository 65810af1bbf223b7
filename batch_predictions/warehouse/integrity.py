"""Finds partition files that cannot be read, or do not have their table's columns.

A file is verified when it is new or has another size or time than when it was last verified; the
verified ones are kept in `<home>/warehouse/.verified.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch_predictions.home import atomic_write
from batch_predictions.tables import TABLES, Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.partition_files import scratch_dir
from batch_predictions.warehouse.sql_literals import quote_literal

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
            or have changed since they were last verified.
        on_progress: called with the number of files verified so far, and of those to verify.
    """
    paths_of = {table: _files(warehouse, table) for table in TABLES.values()}
    signatures = {path: _signature(path) for paths in paths_of.values() for path in paths}
    verified = {} if thorough else _read_verified(warehouse)
    due = {
        path
        for path, signature in signatures.items()
        if verified.get(_name(warehouse, path)) != signature
    }
    damaged: list[DamagedFile] = []
    done = 0
    for table, all_paths in paths_of.items():
        paths = [path for path in all_paths if path in due]
        if not paths:
            continue
        schema = _expected_schema(warehouse, table)
        for path in paths:
            reason = _problem(path, schema, thorough=thorough)
            if reason:
                damaged.append(DamagedFile(table, _values(path), path, reason))
                del signatures[path]
            done += 1
            if on_progress:
                on_progress(done, len(due))
    if due or signatures.keys() != verified.keys():
        _write_verified(warehouse, signatures)
    return damaged


def _files(warehouse: Warehouse, table: Table) -> list[Path]:
    folder = warehouse.folder / table.schema / table.name
    depth = "/".join((*(f"{name}=*" for name in table.folders), "data.parquet"))
    return sorted(folder.glob(depth))


def _values(path: Path) -> dict[str, str]:
    """Column to value of the folders of a file, such as `date=2026-11-24`."""
    parts = (part.partition("=") for part in path.parts if "=" in part)
    return {name: value for name, _, value in parts}


def _problem(path: Path, expected: pa.Schema, *, thorough: bool) -> str | None:
    """Why a file cannot be used; None if it can."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if thorough:
                for _ in file.iter_batches():
                    pass
    except (OSError, pa.ArrowException) as error:
        return f"cannot be read ({str(error).splitlines()[0].rstrip('.')})"
    lacking = [name for name in expected.names if name not in schema.names]
    if lacking:
        return f"lacks the columns {', '.join(lacking)}"
    unknown = [name for name in schema.names if name not in expected.names]
    if unknown:
        return f"has columns that are not declared: {', '.join(unknown)}"
    for name in expected.names:
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


def _read_verified(warehouse: Warehouse) -> dict[str, Signature]:
    try:
        read = json.loads(_verified_path(warehouse).read_text(encoding="utf-8"))
        return {name: (size, time) for name, (size, time) in read.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # All files are verified again.


def _write_verified(warehouse: Warehouse, signatures: Mapping[Path, Signature]) -> None:
    verified = {_name(warehouse, path): signature for path, signature in signatures.items()}
    path = _verified_path(warehouse)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(verified))
