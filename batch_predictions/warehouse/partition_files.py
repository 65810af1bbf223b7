"""The Parquet files of partitions: their paths, scratch folders for drafts, comparison of two."""

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

from batch_predictions.core.durability import fsync_ancestors
from batch_predictions.core.file_lock import file_lock
from batch_predictions.tables import Table
from batch_predictions.warehouse.schema_sql import WarehouseError, fixed_columns

MAX_DRAFT_SECONDS = 86_400
"""A folder of drafts of another host is removed when it is older than this."""
_LOCK, _NEW = ".lock", ".new-"
_DRAFTS = re.compile(r"(?P<host>.+)-(?P<process>\d+)-[0-9a-f]+")


def list_partitions(folder: Path, table: Table) -> list[str]:
    """Keys of the partitions in a warehouse's folder, oldest first."""
    prefix = f"{table.partition}="
    folder = folder / table.schema / table.name
    if not table.partition or not folder.is_dir():
        return []
    depth = "/*" * len(table.parts)
    paths = (path for path in folder.glob(f"{prefix}*{depth}/data.parquet"))
    return sorted({path.relative_to(folder).parts[0].removeprefix(prefix) for path in paths})


def path_of(
    folder: Path, table: Table, partition: str | None, part: Mapping[str, str] | None
) -> Path:
    """The path of a partition's file, which need not exist.

    Args:
        folder: the warehouse's folder.
        table: the table.
        partition: the partition's key, an ISO date; None for a table without partitions.
        part: values of the columns that divide a partition further; None: it has no parts.

    Raises:
        WarehouseError: the table has other partition columns, or a key cannot be a folder's name.
    """
    values = fixed_columns(table, partition, part)
    unpartitioned = partition is not None and not table.partition
    if unpartitioned or set(values) != set(table.folders) or None in values.values():
        raise WarehouseError(
            f"{table.qualified} is partitioned by {table.folders or 'nothing'}, "
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


def replace_file(draft: Path, path: Path, home: Path) -> None:
    """Moves a finished file to where a partition has its own, so that it survives a power cut.

    Args:
        draft: the file, on the same disk.
        path: of the partition's file, which need not exist.
        home: the home folder.
    """
    is_new = not path.parent.is_dir()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft.replace(path)
    # The folder of a new partition is a new name in its parent.
    fsync_ancestors(path.parent, home if is_new else path.parent)


def remove_empty_folders(path: Path, root: Path) -> None:
    """Removes the folders of a removed file that are empty, up to a table's folder, which stays."""
    folder = path.parent
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


@contextmanager
def scratch_dir(folder: Path) -> Iterator[Path]:
    """A temporary folder of this process for drafts; folders of dead processes are removed.

    The process holds the lock of a file in it, which the operating system releases if it dies.
    """
    root = folder / ".tmp"
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    work, new = root / name, root / f"{_NEW}{name}"
    new.mkdir(parents=True)
    with file_lock(new / _LOCK):
        # Under its name it is locked from the beginning, so that no other process removes it.
        new.rename(work)
        for leftover in root.iterdir():
            if leftover != work and _is_abandoned(leftover, now=work.stat().st_mtime):
                shutil.rmtree(leftover, ignore_errors=True)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _is_abandoned(folder: Path, now: float) -> bool:
    """Returns whether the process of a temporary folder is dead.

    Args:
        folder: the folder, named by host and process.
        now: the time of the file system.
    """
    is_new = folder.name.startswith(_NEW)
    match = _DRAFTS.fullmatch(folder.name.removeprefix(_NEW))
    if match is None:
        return False
    is_here = match["host"] == socket.gethostname()
    try:
        # Another host may not share the locks of this file system.
        is_old = now - folder.stat().st_mtime > MAX_DRAFT_SECONDS
        if is_new or not (folder / _LOCK).exists():
            import psutil

            # It is being made or removed.
            return is_old or (is_here and not psutil.pid_exists(int(match["process"])))
        with file_lock(folder / _LOCK, wait=False):
            return is_here or is_old
    except OSError:
        # Another process holds the lock, or has just removed the folder.
        return False


def files_equal(draft: Path, target: Path) -> bool:
    """Returns whether two files have the same rows in the same order, and the same metadata.

    Equal rows do not always give equal bytes: DuckDB declares a column of a Parquet file as
    required or optional, depending on whether the query that wrote it saw nulls. A target that
    cannot be read is different.
    """
    if filecmp.cmp(draft, target, shallow=False):
        return True
    import pyarrow as pa

    try:
        return _rows_equal(draft, target)
    except (OSError, pa.ArrowException):
        return False


def _rows_equal(draft: Path, target: Path) -> bool:
    import pyarrow.parquet as pq

    with pq.ParquetFile(draft) as new, pq.ParquetFile(target) as old:
        new_schema, old_schema = new.schema_arrow, old.schema_arrow
        if new.metadata.num_rows != old.metadata.num_rows or (
            new_schema.names,
            new_schema.types,
            new_schema.metadata,
        ) != (old_schema.names, old_schema.types, old_schema.metadata):
            return False
        for new_batch, old_batch in itertools.zip_longest(new.iter_batches(), old.iter_batches()):
            if new_batch is None or old_batch is None or new_batch.columns != old_batch.columns:
                return False
    return True


def _is_day(key: str) -> bool:
    """Returns whether a key is a date as partitions are named, YYYY-MM-DD."""
    try:
        return dt.date.fromisoformat(key).isoformat() == key
    except ValueError:
        return False
