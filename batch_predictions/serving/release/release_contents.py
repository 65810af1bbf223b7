"""What a release of a day is made of: partitions of the warehouse, their files and their hash."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from batch_predictions.serving.release.pointer import ReleaseError
from batch_predictions.tables import ITEM_STATE, USER_SEGMENTS, Table
from batch_predictions.warehouse import Warehouse


@dataclass(frozen=True)
class ReleasePartition:
    """One partition of a table that goes into a release."""

    table: Table
    key: str
    rows: int
    files: dict[Path, str]
    stats: tuple[tuple[int, int, int], ...]

    def unchanged(self) -> bool:
        """Whether its files still are those that were hashed."""
        return all(map(Path.exists, self.files)) and _stats(list(self.files)) == self.stats


@dataclass(frozen=True)
class ReleaseContents:
    """The partitions of a release, and the hash over their bytes."""

    as_of: dt.date
    published: tuple[ReleasePartition, ...]
    users: ReleasePartition | None
    items: ReleasePartition | None

    @property
    def partitions(self) -> tuple[ReleasePartition, ...]:
        """All of them, features included."""
        return (*self.published, *(one for one in (self.users, self.items) if one))

    @property
    def content_hash(self) -> str:
        """SHA-256 over names, partitions and file hashes: equal rows give equal hashes."""
        text = "\n".join(
            f"{one.table.qualified} {one.key} {sha}"
            for one in sorted(self.partitions, key=lambda one: one.table.qualified)
            for sha in one.files.values()
        )
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def release_id(self) -> str:
        """The release's name: its day and the beginning of its hash."""
        return f"{self.as_of.isoformat()}-{self.content_hash[:8]}"


def read_release_contents(
    warehouse: Warehouse, as_of: dt.date, tables: Sequence[Table], optional: Collection[str] = ()
) -> ReleaseContents:
    """The partitions that a release of the day is made of.

    Daily tables give the day itself; weekly tables the newest week that had ended by then.

    Raises:
        ReleaseError: tables that are not optional have no such partition; it names them all.
        ValueError: `optional` names a table that is not among those to publish.
    """
    strangers = sorted(set(optional) - {table.name for table in tables})
    if strangers:
        raise ValueError(f"optional tables that are not published: {', '.join(strangers)}")
    found: list[ReleasePartition] = []
    lacking: list[str] = []
    for table in tables:
        partition = _partition(warehouse, table, as_of)
        if partition is not None:
            found.append(partition)
        elif table.name not in optional:
            lacking.append(table.qualified)
    if lacking:
        raise ReleaseError(
            f"no release of {as_of}: {', '.join(lacking)} "
            f"{'has' if len(lacking) == 1 else 'have'} no partition that is due by that day: "
            "materialize it first"
        )
    if not found:
        raise ReleaseError(f"no release of {as_of}: none of its tables has a partition of the day")
    users = _partition(warehouse, USER_SEGMENTS, as_of)
    items = _partition(warehouse, ITEM_STATE, as_of)
    return ReleaseContents(as_of, tuple(found), users, items)


def _partition(warehouse: Warehouse, table: Table, as_of: dt.date) -> ReleasePartition | None:
    if table.partition == "date":
        keys = [as_of.isoformat()]
    elif table.partition == "week":
        ended = as_of - dt.timedelta(days=6)
        keys = [key for key in warehouse.partitions(table) if key <= ended.isoformat()]
    else:
        raise ReleaseError(f"{table.qualified} has no partitions and cannot be released")
    if not keys:
        return None
    folder = warehouse.folder / table.schema / table.name / f"{table.partition}={keys[-1]}"
    files = sorted(folder.glob("/".join((*("*" for _ in table.parts), "data.parquet"))))
    if not files:
        return None
    stats = _stats(files)
    hashes = {file: _sha256(file) for file in files}
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    return ReleasePartition(table, keys[-1], rows, hashes, stats)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _stats(files: Sequence[Path]) -> tuple[tuple[int, int, int], ...]:
    return tuple((at.st_ino, at.st_size, at.st_mtime_ns) for at in map(Path.stat, files))
