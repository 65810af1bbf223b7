"""The contents of a release: partitions of the warehouse, their files and the hash over them."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from batch_predictions.core.file_hashes import hash_file
from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.tables import ITEM_STATE, USER_SEGMENTS, Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.delta_tables import count_rows
from batch_predictions.warehouse.digests import DamagedPartitionError
from batch_predictions.warehouse.path_sql import quote_files


@dataclass(frozen=True)
class ReleasePartition:
    """A partition that is part of a release.

    Attributes:
        table: its table.
        key: day, or Monday of the week.
        rows: number of rows.
        files: path to SHA-256.
        stats: inode, size and modification time (ns) of each file.
        as_of: day at whose end it was predicted, where that is before the release's own because
            the day's partition was not made; else None.
        draft: a file that has exactly its rows; None: the warehouse has them.
    """

    table: Table
    key: str
    rows: int
    files: dict[Path, str]
    stats: tuple[tuple[int, int, int], ...]
    as_of: dt.date | None = None
    draft: Path | None = None

    def rows_sql(self, parameter: str = "day") -> str:
        """SQL of the partition's rows, to stand after `from`; `parameter` is bound to its key."""
        if self.draft is not None:
            return f"read_parquet({quote_files([self.draft])})"
        return f'{self.table.qualified} where "{self.table.partition}" = ${parameter}::DATE'

    def unchanged(self) -> bool:
        """Returns whether the partition's files are still those that were hashed."""
        return all(map(Path.exists, self.files)) and _stats(list(self.files)) == self.stats


@dataclass(frozen=True)
class ReleaseContents:
    """The partitions of a release.

    Attributes:
        as_of: its day.
        published: published predictions, and drafts of context tables.
        users: users of the day.
        items: items of the day.
    """

    as_of: dt.date
    published: tuple[ReleasePartition, ...]
    users: ReleasePartition | None
    items: ReleasePartition | None

    def with_drafts(self, drafts: Sequence[ReleasePartition]) -> ReleaseContents:
        """Returns these contents with further partitions, those of context tables."""
        return replace(self, published=(*self.published, *drafts))

    @property
    def partitions(self) -> tuple[ReleasePartition, ...]:
        """All partitions, those of users and items included."""
        features = (self.users, self.items)
        return (*self.published, *(partition for partition in features if partition))

    @property
    def content_hash(self) -> str:
        """SHA-256 over names, partitions and file hashes: equal rows give equal hashes."""
        text = "\n".join(
            f"{partition.table.qualified} {partition.key} {sha}"
            for partition in sorted(self.partitions, key=lambda p: p.table.qualified)
            for sha in partition.files.values()
        )
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def release_id(self) -> str:
        """The release's id: its day and the first 8 digits of its hash."""
        return f"{self.as_of.isoformat()}-{self.content_hash[:8]}"


def read_release_contents(
    warehouse: Warehouse, as_of: dt.date, tables: Sequence[Table], optional: Collection[str] = ()
) -> ReleaseContents:
    """Finds the partitions of a day's release.

    Of daily tables the day itself; of weekly tables the newest week that had ended by the day. Of a
    daily table that was not made for the day, because its model or its prediction failed, the
    newest earlier day is carried.

    Args:
        warehouse: of the home.
        as_of: the release's day.
        tables: the published tables.
        optional: names of those of them that the release may lack.

    Raises:
        ReleaseError: tables that are not optional have no partition by the day, or no daily table
            has one of the day itself; the message lists them. Or a partition's file is damaged.
        ValueError: `optional` names a table that is not in `tables`.
    """
    unpublished = sorted(set(optional) - {table.name for table in tables})
    if unpublished:
        raise ValueError(f"optional tables that are not published: {', '.join(unpublished)}")
    published: list[ReleasePartition] = []
    missing: list[str] = []
    for table in tables:
        partition = _partition(warehouse, table, as_of)
        if partition is not None:
            published.append(partition)
        elif table.name not in optional:
            missing.append(table.qualified)
    if missing:
        raise ReleaseError(
            f"no release of {as_of}: {', '.join(missing)} "
            f"{'has' if len(missing) == 1 else 'have'} no partition that is due by that day: "
            "materialize it first"
        )
    if not published or all(partition.as_of for partition in published):
        raise ReleaseError(f"no release of {as_of}: none of its tables has a partition of the day")
    users = _partition(warehouse, USER_SEGMENTS, as_of)
    items = _partition(warehouse, ITEM_STATE, as_of)
    return ReleaseContents(as_of, tuple(published), users, items)


def _partition(warehouse: Warehouse, table: Table, as_of: dt.date) -> ReleasePartition | None:
    if table.partition == "date":
        due = as_of
    elif table.partition == "week":
        # Mondays of weeks that had ended.
        due = as_of - dt.timedelta(days=6)
    else:
        raise ReleaseError(f"{table.qualified} has no partitions and cannot be released")
    keys = [key for key in warehouse.partitions(table) if key <= due.isoformat()]
    if not keys:
        return None
    folder = warehouse.folder / table.schema / table.name / f"{table.partition}={keys[-1]}"
    files = sorted(folder.glob("/".join((*("*" for _ in table.parts), "data.parquet"))))
    if not files:
        return None
    stats = _stats(files)
    digests = warehouse.digests(table)
    try:
        hashes = {file: digests.verify(file) for file in files}
    except DamagedPartitionError as error:
        raise ReleaseError(str(error)) from error
    rows = sum(map(count_rows, files))
    is_carried = table.partition == "date" and keys[-1] < due.isoformat()
    day = dt.date.fromisoformat(keys[-1]) if is_carried else None
    return ReleasePartition(table, keys[-1], rows, hashes, stats, day)


def draft_partition(table: Table, key: str, path: Path) -> ReleasePartition:
    """Makes a partition of a draft file, whose rows are in the order of the table's key."""
    rows = pq.read_metadata(path).num_rows
    return ReleasePartition(table, key, rows, {path: hash_file(path)}, _stats([path]), draft=path)


def _stats(files: Sequence[Path]) -> tuple[tuple[int, int, int], ...]:
    return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in map(Path.stat, files))
