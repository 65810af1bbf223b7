"""Repeated and corrected ingests, snapshots, and the days to ingest."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from pathlib import Path

import pytest

from batch_predictions.sources.adapters import files as files_adapter
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.due_partitions import days_to_ingest
from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.tables import INTERACTIONS, QUARANTINE, REVIEWS, USERS
from batch_predictions_tests.worlds.source_folders import (
    FIRST_DAY,
    HEADER,
    SourceFolder,
    day_keys,
    total_counts,
)

QUARANTINE_PART = {"table_name": "interactions"}


def touch(path: Path, seconds: int) -> None:
    """Moves a file's time by seconds, since a file system may not store fractions of them."""
    stat = path.stat()
    os.utime(path, (stat.st_atime, stat.st_mtime + seconds))


def test_a_repeated_ingest_of_equal_rows_writes_no_files(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-02,1\nu,i,x,1\n")
    first = shop.ingest()
    assert all(result.write_result.changed for result in first.values())
    touch(shop.folder / "interactions.csv", 5)
    second = shop.ingest()
    assert not any(result.write_result.changed for result in second.values())
    assert [result.counts for result in first.values()] == [
        result.counts for result in second.values()
    ]


def test_a_late_row_changes_only_its_day(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    rows = HEADER + "".join(f"u,i,{day},1\n" for day in day_keys(10))
    shop.write("interactions.csv", rows).ingest()
    shop.write("interactions.csv", rows + "late,i,2024-01-04,1\n")
    results = shop.ingest()
    assert [day for day, result in results.items() if result.write_result.changed] == ["2024-01-04"]


def test_a_long_history_is_read_in_groups_of_days_with_equal_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = SourceFolder(tmp_path)
    for day in day_keys(10):
        # Of each file a row is refused, and one without a day belongs to the file's newest day.
        rows = f"u,i,{day},1\nu,i,{day},x\nv,i,,2\nw,j,{day},3\n"
        shop.write(f"interactions/{day}.csv", HEADER + rows)
    whole = shop.ingest()
    files = {path: path.read_bytes() for path in shop.warehouse.folder.rglob("*.parquet")}
    shutil.rmtree(shop.warehouse.folder)
    monkeypatch.setattr(files_adapter, "ROWS_PER_READ", 9)
    with shop.source.open_partitions(INTERACTIONS, day_keys(10), tmp_path) as groups:
        assert [len(group) for group in groups] == [2, 2, 2, 2, 2]
    results = shop.ingest()
    assert [r.counts for r in results.values()] == [r.counts for r in whole.values()]
    assert total_counts(results) == (40, 20, 20)
    assert {path: path.read_bytes() for path in shop.warehouse.folder.rglob("*.parquet")} == files
    # A group reads all files that have its days: a large one is read once.
    shop.write("interactions/more.csv", HEADER + f"u,i,{day},1\n" * 25)
    with shop.source.open_partitions(INTERACTIONS, day_keys(10), tmp_path) as groups:
        assert [len(group) for group in groups] == [6, 3, 1]


def test_corrected_data_clears_the_quarantine(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-02,x\n")
    assert total_counts(shop.ingest()) == (1, 0, 1)
    assert shop.warehouse.path(QUARANTINE, "2024-01-02", QUARANTINE_PART).exists()
    shop.write("interactions.csv", HEADER + "u,i,2024-01-02,3\n")
    assert total_counts(shop.ingest()) == (1, 1, 0)
    assert shop.rows("from raw.quarantine") == []


def test_an_older_day_does_not_replace_a_newer_snapshot(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER)
    shop.write("users.csv", "user_id\na\nb\n")
    shop.ingest(USERS, ["2024-01-05"])
    shop.write("users.csv", "user_id\na\n")
    older = shop.ingest(USERS, ["2024-01-03", "2024-01-04"])
    assert older["2024-01-04"].is_superseded
    assert not older["2024-01-04"].write_result.changed
    assert len(shop.rows("from raw.users")) == 2
    newer = shop.ingest(USERS, day_keys(6))
    assert list(newer) == ["2024-01-06"]
    assert newer["2024-01-06"].write_result.changed
    assert len(shop.rows("from raw.users")) == 1
    assert read_ingest_log(shop.settings.home, USERS).as_of == "2024-01-06"


def test_refused_rows_of_a_snapshot_belong_to_the_day_of_the_ingest(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER)
    shop.write("users.csv", "user_id\na\na\n").ingest(USERS, day_keys(3))
    [row] = shop.rows("from raw.quarantine")
    assert (str(row["date"]), row["table_name"]) == ("2024-01-03", "users")


def test_days_are_due_until_they_are_ingested_and_after_the_source_changed(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-02,1\n")
    first, last = dt.date(2024, 1, 1), dt.date(2024, 1, 4)

    def due_days(through: dt.date = last) -> list[str]:
        return days_to_ingest(shop.warehouse, shop.source, INTERACTIONS, first, through)

    assert due_days() == day_keys(4)
    shop.ingest(days=day_keys(4))
    assert due_days() == []
    assert due_days(dt.date(2024, 1, 5)) == ["2024-01-05"]
    shop.warehouse.remove_partition(INTERACTIONS, "2024-01-02")
    assert due_days() == ["2024-01-02"]
    shop.ingest(days=["2024-01-02"])
    touch(shop.folder / "interactions.csv", 7)
    assert due_days() == []  # the rows are as before
    shop.write("interactions.csv", HEADER + "u,i,2024-01-02,1\nv,i,2024-01-03,1\n")
    assert due_days() == ["2024-01-03"]


def test_a_snapshot_is_due_once_after_every_change_of_the_source(tmp_path: Path) -> None:
    shop = (
        SourceFolder(tmp_path).write("interactions.csv", HEADER).write("users.csv", "user_id\na\n")
    )

    def due_days(last: str) -> list[str]:
        through = dt.date.fromisoformat(last)
        return days_to_ingest(shop.warehouse, shop.source, USERS, through, through)

    assert due_days("2024-01-03") == ["2024-01-03"]
    shop.ingest(USERS, ["2024-01-03"])
    assert due_days("2024-01-03") == due_days("2024-01-04") == []
    shop.write("users.csv", "user_id\na\nbb\n")
    assert due_days("2024-01-04") == ["2024-01-04"]
    assert due_days("2024-01-02") == []


def test_a_table_that_the_source_does_not_have_gets_empty_partitions(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER)
    assert total_counts(shop.ingest(REVIEWS)) == (0, 0, 0)
    shop.ingest(USERS)
    assert shop.warehouse.partitions(REVIEWS) == day_keys(10)
    assert shop.warehouse.path(USERS).exists()
    last_day = dt.date(2024, 1, 20)
    assert days_to_ingest(shop.warehouse, shop.source, USERS, FIRST_DAY, last_day) == []


def test_a_day_before_the_home_is_refused(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER)
    with pytest.raises(SourceError, match="before 2024-01-01, the first day"):
        shop.ingest(days=["2023-12-31"])
