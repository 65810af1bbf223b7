"""Damaged files of the warehouse are found and named, and verified ones are not read again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import duckdb
import pytest

from batch_predictions.tables import ITEM_STATE, TABLES
from batch_predictions.tables.base import Column
from batch_predictions.warehouse import Warehouse, integrity
from batch_predictions.warehouse.integrity import find_damaged

DAY = "2024-01-02"


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
    assert problems(warehouse) == []
    rewrite(file, select)
    assert problems(warehouse) == [reason]


def test_files_from_before_a_column_was_declared_are_whole(
    warehouse: Warehouse, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not they were verified before it was declared."""
    rewrite(file, "* exclude (category)")
    assert problems(warehouse) == []
    (warehouse.folder / ".verified.json").unlink()
    newer = dataclasses.replace(
        ITEM_STATE, columns=(*ITEM_STATE.columns, Column("colour", "VARCHAR", "of the item"))
    )
    monkeypatch.setitem(TABLES, ITEM_STATE.qualified, newer)
    assert problems(warehouse) == problems(warehouse, thorough=True) == []
    # What was there before must stay.
    rewrite(file, "* exclude (price)")
    assert problems(warehouse) == ["lacks the columns price"]


def test_a_damaged_page_is_found_by_reading_all_rows(warehouse: Warehouse, file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:200] + bytes(400) + content[600:])
    [reason] = problems(warehouse, thorough=True)
    assert reason.startswith("cannot be read (")


def test_only_new_and_changed_files_are_read(
    warehouse: Warehouse, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert problems(warehouse) == []
    read: list[Path] = []
    problem = integrity._problem

    def record(path: Path, *arguments: object, **options: object) -> str | None:
        read.append(path)
        return problem(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(integrity, "_problem", record)
    assert problems(warehouse) == []
    assert read == []
    new = warehouse.replace_partition(
        ITEM_STATE, "2024-01-03", f"select * replace (date '2024-01-03' as date) from '{file}'"
    )
    assert problems(warehouse) == []
    assert read == [new.path]
    rewrite(file, "*")
    file.write_bytes(b"")
    assert len(problems(warehouse)) == 1
    assert read == [new.path, file]
    # A damaged file is not among the verified ones.
    assert len(problems(warehouse)) == 1


def test_a_damaged_list_of_verified_files_is_made_again(warehouse: Warehouse, file: Path) -> None:
    assert problems(warehouse) == []
    for text in ("", "[]", '{"x": 1}', "{"):
        (warehouse.folder / ".verified.json").write_text(text)
        assert problems(warehouse) == []


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
