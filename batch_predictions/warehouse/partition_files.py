"""The files of partitions: where each lies, a folder for drafts, and whether two hold the same."""

from __future__ import annotations

import datetime as dt
import filecmp
import itertools
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from batch_predictions.home import process_exists
from batch_predictions.tables import Table
from batch_predictions.warehouse.schema_sql import WarehouseError, fixed_columns


def list_partitions(folder: Path, table: Table) -> list[str]:
    """Keys of the partitions that lie in a warehouse's folder, oldest first."""
    prefix = f"{table.partition}="
    folder = folder / table.schema / table.name
    if not table.partition or not folder.is_dir():
        return []
    depth = "/*" * len(table.parts)
    there = (path for path in folder.glob(f"{prefix}*{depth}/data.parquet"))
    return sorted({path.relative_to(folder).parts[0].removeprefix(prefix) for path in there})


def path_of(
    folder: Path, table: Table, partition: str | None, part: Mapping[str, str] | None
) -> Path:
    """Where a partition's file lies in a warehouse's folder, whether it was written or not.

    Raises:
        WarehouseError: the table is divided by something else, or a key cannot name a folder.
    """
    values = fixed_columns(table, partition, part)
    strange = partition is not None and not table.partition
    if strange or set(values) != set(table.folders) or None in values.values():
        raise WarehouseError(
            f"{table.qualified} is divided by {table.folders or 'nothing'}, "
            f"not by {tuple(values) or partition}"
        )
    if partition is not None and not _is_day(partition):
        raise WarehouseError(
            f"{table.qualified}: {table.partition}={partition!r} is not a day, YYYY-MM-DD"
        )
    folder = folder / table.schema / table.name
    for name in table.folders:
        value = str(values[name])
        if not re.fullmatch(r"[\w.:@+-]+", value) or value.startswith("."):
            raise WarehouseError(f"{table.qualified}: {name}={value!r} cannot name a folder")
        folder /= f"{name}={value}"
    return folder / "data.parquet"


@contextmanager
def scratch_dir(folder: Path) -> Iterator[Path]:
    """A folder of this process's own for drafts; left-overs of dead processes are swept."""
    root = folder / ".tmp"
    host = socket.gethostname()
    for left in root.glob(f"{host}-*-*") if root.is_dir() else ():
        pid = left.name.removeprefix(f"{host}-").split("-")[0]
        if pid.isdigit() and not process_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    work = root / f"{host}-{os.getpid()}-{uuid.uuid4().hex}"
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def files_equal(draft: Path, target: Path) -> bool:
    """Whether two files hold the same rows in the same order, with the same metadata.

    Equal rows give equal bytes, but where other rows of the same query had a null: DuckDB writes a
    column as one that cannot be null if it knows of none.
    """
    if filecmp.cmp(draft, target, shallow=False):
        return True
    import pyarrow.parquet as pq

    with pq.ParquetFile(draft) as new, pq.ParquetFile(target) as old:
        ours, theirs = new.schema_arrow, old.schema_arrow
        if new.metadata.num_rows != old.metadata.num_rows or (
            ours.names,
            ours.types,
            ours.metadata,
        ) != (theirs.names, theirs.types, theirs.metadata):
            return False
        for a, b in itertools.zip_longest(new.iter_batches(), old.iter_batches()):
            if a is None or b is None or a.columns != b.columns:
                return False
    return True


def _is_day(key: str) -> bool:
    """Whether a key is a day in the one form that partitions are named in."""
    try:
        return dt.date.fromisoformat(key).isoformat() == key
    except ValueError:
        return False
