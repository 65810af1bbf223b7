"""Damaged files of the warehouse are found and named, and verified ones are not read again."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import duckdb
import pytest

from batch_predictions.tables import ITEM_STATE, TABLES
from batch_predictions.tables.base import Column
from batch_predictions.warehouse import Warehouse, integrity
from batch_predictions.warehouse.digests import FOLDER, DamagedPartitionError
from batch_predictions.warehouse.integrity import find_damaged

DAY, NEXT = "2024-01-02", "2024-01-03"


@pytest.fixture
def file(warehouse: Warehouse) -> Path:
    """The file of a partition of 2,000 items."""
    columns = {
        name: "null"
        for name in (column.name for column in ITEM_STATE.columns)
        if name not in ("date", "item_id")
    }
    nulls = ", ".join(f"{value} as {name}" for name, value in columns.items())
    rows = f"select 'i' || i as item_id, {nulls} from range(2000) r(i)"
    return warehouse.replace_partition(ITEM_STATE, DAY, rows).path


def problems(warehouse: Warehouse, *, thorough: bool = False) -> list[str]:
    return [damaged.reason for damaged in find_damaged(warehouse, thorough=thorough)]


def forget_digests(warehouse: Warehouse) -> None:
    """Makes the home one of an earlier version, which recorded no digests."""
    shutil.rmtree(warehouse.folder / FOLDER)


def damage_in_place(file: Path, content: bytes) -> None:
    """Changes bytes as a disk does: size, times and inode stay."""
    stat = file.stat()
    with file.open("r+b") as opened:
        opened.write(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def rewrite(file: Path, select: str) -> None:
    """Replaces a file by the result of a query over it."""
    with duckdb.connect() as db:
        db.execute("create table old as select * from read_parquet(?)", [str(file)])
        db.execute(f"copy (select {select} from old) to '{file}' (format parquet)")


def test_whole_files_are_not_damaged(warehouse: Warehouse, file: Path) -> None:
    assert file.exists()
    assert problems(warehouse) == problems(warehouse, thorough=True) == []


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 0.999])
def test_truncated_files_are_found(warehouse: Warehouse, file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    [damaged] = find_damaged(warehouse)
    assert (damaged.table, damaged.partition, damaged.path) == (ITEM_STATE, DAY, file)
    assert damaged.reason.startswith("cannot be read (")


@pytest.mark.parametrize(
    ("select", "reason"),
    [
        ("* exclude (category, price)", "lacks the columns category, price"),
        ("*, 1 as extra", "has columns that are not declared: extra"),
        ("* replace (1::BIGINT as price)", "has price as int64, not as double"),
        ("* replace (date::VARCHAR as date)", "has date as string, not as date32[day]"),
    ],
)
def test_files_of_another_schema_are_found(
    warehouse: Warehouse, file: Path, select: str, reason: str
) -> None:
    query = f"select * replace (date '{NEXT}' as date) from '{file}'"
    newer = warehouse.replace_partition(ITEM_STATE, NEXT, query).path
    rewrite(newer, select)
    forget_digests(warehouse)
    assert problems(warehouse) == problems(warehouse) == [reason]


def test_files_from_before_a_column_was_declared_are_whole(
    warehouse: Warehouse, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = dataclasses.replace(
        ITEM_STATE, columns=(*ITEM_STATE.columns, Column("colour", "VARCHAR", "of the item"))
    )
    monkeypatch.setitem(TABLES, ITEM_STATE.qualified, newer)
    assert problems(warehouse) == problems(warehouse, thorough=True) == []
    forget_digests(warehouse)
    assert problems(warehouse) == problems(warehouse, thorough=True) == []


def test_a_damaged_page_of_a_file_without_a_digest_is_found_by_reading_its_rows(
    warehouse: Warehouse, file: Path
) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:200] + bytes(400) + content[600:])
    forget_digests(warehouse)
    [reason] = problems(warehouse, thorough=True)
    assert reason.startswith("cannot be read (")


@pytest.mark.parametrize("where", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("zeroed", [0, 100])
def test_a_flipped_bit_and_zeroed_bytes_are_found(
    warehouse: Warehouse, file: Path, where: float, zeroed: int
) -> None:
    content = bytearray(file.read_bytes())
    at = int(where * len(content))
    content[at : at + max(1, zeroed)] = bytes(zeroed) if zeroed else bytes([content[at] ^ 0x10])
    damage_in_place(file, bytes(content))
    # Size and times say nothing: it is found when it is read.
    assert problems(warehouse) == []
    [reason] = problems(warehouse, thorough=True)
    assert "other bytes than were written" in reason or "cannot be read" in reason
    # Nobody takes it for what was written any more, and the next run moves it aside.
    with pytest.raises(DamagedPartitionError, match="is damaged"):
        warehouse.digests(ITEM_STATE).get(file)
    assert len(problems(warehouse)) == 1


def test_files_are_examined_in_turn(warehouse: Warehouse, file: Path) -> None:
    days = [f"2024-01-{number:02d}" for number in range(3, 8)]
    for day in days:
        query = f"select * replace (date '{day}' as date) from '{file}'"
        warehouse.replace_partition(ITEM_STATE, day, query)
    paths = [file, *(warehouse.path(ITEM_STATE, day) for day in days)]
    damage_in_place(paths[4], paths[4].read_bytes()[:-9] + bytes(9))
    two_files = 2 * file.stat().st_size - 100
    found = [find_damaged(warehouse, share_bytes=two_files) for _ in range(3)]
    assert [[damaged.path for damaged in turn] for turn in found] == [[], [], [paths[4]]]
    # The turn of the first has come again, beside what is known to be damaged.
    paths[4].unlink()
    damage_in_place(file, bytes(file.stat().st_size))
    [damaged] = find_damaged(warehouse, share_bytes=1)
    assert damaged.path == file
    assert find_damaged(warehouse, share_bytes=0) != []


def test_only_changed_files_are_read(
    warehouse: Warehouse, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    problem = integrity._problem

    def record(path: Path, *arguments: object, **options: object) -> str | None:
        read.append(path)
        return problem(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(integrity, "_problem", record)
    new = warehouse.replace_partition(
        ITEM_STATE, NEXT, f"select * replace (date '{NEXT}' as date) from '{file}'"
    )
    assert problems(warehouse) == []
    assert read == []
    rewrite(file, "*")
    file.write_bytes(b"")
    assert len(problems(warehouse)) == 1
    assert read == [file] and file != new.path
    # A damaged file is examined as long as it is there.
    assert len(problems(warehouse)) == 1


def test_an_unreadable_partition_is_replaced(warehouse: Warehouse, file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-20])
    with duckdb.connect() as db:
        copy = file.with_name("copy.parquet")
        copy.write_bytes(content)
        rows = db.sql("select * from read_parquet(?)", params=[str(copy)]).to_arrow_table()
        copy.unlink()
    result = warehouse.replace_partition(ITEM_STATE, DAY, rows)
    assert (result.changed, result.rows) == (True, 2000)
    assert problems(warehouse) == []
