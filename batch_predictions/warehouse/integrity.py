"""Finds partition files that have other bytes than were written, or not their table's columns.

A file is examined when its size, time or inode are not those of its recorded digest, and when its
turn comes: the end of every night examines a share of all files, one after the other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.home import HomeError
from batch_predictions.tables import TABLES, Table
from batch_predictions.tables.discovery import is_of_settings
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.delta_tables import local_file, tables_of
from batch_predictions.warehouse.digests import FOLDER, DamagedPartitionError, PartitionDigests
from batch_predictions.warehouse.partition_files import scratch_dir
from batch_predictions.warehouse.path_sql import quote_literal

if TYPE_CHECKING:
    import pyarrow as pa

TURN_NAME = "turn"
"""File beside the digests with the name of the file that was examined last in its turn."""


@dataclass(frozen=True)
class DamagedFile:
    """A partition's file that cannot be used.

    Attributes:
        table: its table.
        values: partition and further columns that its folders give, such as {date: 2026-11-24}.
        path: the file.
        reason: why it cannot be used.
        is_lost: whether the bucket of the home has not what was written.
    """

    table: Table
    values: Mapping[str, str]
    path: Path
    reason: str
    is_lost: bool = False

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
    share_bytes: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[DamagedFile]:
    """The damaged files of all declared tables.

    Args:
        warehouse: the warehouse.
        thorough: whether every file is read; else files that have changed since their digest was
            recorded, and none of a bucket: what is downloaded from there is compared with it.
        share_bytes: of the other files, those are read whose turn it is, up to so many bytes.
        on_progress: called with the number of files examined so far, and of those to examine.
    """
    tables = tables_of(Path(warehouse.home))
    if not thorough and tables is not None:
        return []
    paths_of = {table: paths for table in TABLES.values() if (paths := _files(warehouse, table))}
    due = {path for paths in paths_of.values() for path in paths}
    if not thorough:
        current = {
            path
            for table, paths in paths_of.items()
            for path in filter(warehouse.digests(table).is_current, paths)
        }
        due = due - current | _take_turn(warehouse, current, share_bytes)
    damaged, done = [], 0
    for table, all_paths in paths_of.items():
        paths = [path for path in all_paths if path in due]
        if not paths:
            continue
        required = _columns_of_oldest(table, all_paths)
        lost = tables.find_damage(table, paths) if tables else {}
        damaged += [DamagedFile(table, _values(p), p, reason, True) for p, reason in lost.items()]
        others = [path for path in paths if path not in lost]
        done += len(lost)
        for path, reason in _examine(warehouse, table, others, required, reads_rows=thorough):
            if reason:
                damaged.append(DamagedFile(table, _values(path), path, reason))
            done += 1
            if on_progress:
                on_progress(done, len(due))
    return damaged


def _examine(
    warehouse: Warehouse,
    table: Table,
    paths: Sequence[Path],
    columns: Collection[str],
    *,
    reads_rows: bool,
) -> Iterator[tuple[Path, str | None]]:
    """Yields the files of a table, and why they cannot be used; None if they can.

    Args:
        warehouse: the warehouse.
        table: the table.
        paths: of files.
        columns: that all files must have.
        reads_rows: whether rows are read of files whose digest is not recorded.
    """
    digests = warehouse.digests(table)
    schema = _expected_schema(warehouse, table)
    # Settings change the columns of tables that they declare: files of before are whole.
    required = () if is_of_settings(table) else {*columns, *table.key}
    for path in paths:
        try:
            if digests.is_known(path):
                changed = _changed(digests, path)
                yield path, _problem(path, schema, required, reads_rows=False) or changed
            else:
                # Of an earlier version, or of a bucket.
                reason = _problem(path, schema, required, reads_rows=reads_rows)
                yield path, reason or _changed(digests, path)
        except FileNotFoundError:
            # It was replaced or removed meanwhile.
            yield path, None


def _changed(digests: PartitionDigests, path: Path) -> str | None:
    """Says that a file has not its digest; None if it has."""
    try:
        digests.verify(path)
    except DamagedPartitionError:
        return "has other bytes than were written"
    return None


def _take_turn(warehouse: Warehouse, paths: Collection[Path], share_bytes: int) -> set[Path]:
    """The files that follow those of the last turn, up to a number of bytes."""
    if share_bytes <= 0 or not paths:
        return set()
    turn = warehouse.folder / FOLDER / TURN_NAME
    last = turn.read_text(encoding="utf-8") if turn.exists() else ""
    names = sorted(str(path.relative_to(warehouse.folder)) for path in paths)
    start = bisect_right(names, last)
    taken: set[Path] = set()
    for last in (*names[start:], *names[:start]):
        path = warehouse.folder / last
        taken.add(path)
        share_bytes -= path.stat().st_size
        if share_bytes <= 0:
            break
    turn.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(turn, last)
    return taken


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
    path: Path, expected: pa.Schema, required: Collection[str], *, reads_rows: bool
) -> str | None:
    """Why a file cannot be used; None if it can.

    Args:
        path: the file.
        expected: the schema of the declared columns.
        required: columns that it must have; it may lack others. Empty: it may have any columns.
        reads_rows: whether every row is read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(local_file(path)) as file:
            schema = file.schema_arrow
            if reads_rows:
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
