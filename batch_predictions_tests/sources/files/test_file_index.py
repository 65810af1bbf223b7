"""Only changed days are due, and a day is read from the files that have rows of it."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.due_partitions import days_to_ingest
from batch_predictions.sources.files import mapped_groups
from batch_predictions.sources.files.file_index import FileIndex
from batch_predictions.sources.files.formats import read_files
from batch_predictions.sources.rows.ingest_log import update_ingest_log
from batch_predictions.tables import INTERACTIONS, Table
from batch_predictions_tests.worlds.properties import ONE_FIXTURE_FOR_ALL
from batch_predictions_tests.worlds.source_folders import FIRST_DAY, HEADER, SourceFolder, day_keys

LAST_DAY = dt.date(2024, 1, 10)


def due_days(shop: SourceFolder, table: Table = INTERACTIONS) -> list[str]:
    return days_to_ingest(shop.warehouse, shop.source, table, FIRST_DAY, LAST_DAY)


def ingest_due(shop: SourceFolder) -> list[str]:
    """Ingests the days that are due, and returns them."""
    days = due_days(shop)
    if days:
        shop.ingest(days=days)
    assert due_days(shop) == []
    return days


@pytest.fixture
def read_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from now on."""
    names: list[str] = []

    def record(db: Any, folder: Path, paths: Any, *arguments: Any) -> Any:
        names.extend(path.name for path in paths)
        return read_files(db, folder, paths, *arguments)

    monkeypatch.setattr(mapped_groups, "read_files", record)
    return names


def test_a_row_that_is_appended_makes_its_day_due(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    rows = HEADER + "".join(f"u,i,{day},1\n" for day in day_keys(10))
    assert len(ingest_due(shop.write("interactions.csv", rows))) == 10
    assert ingest_due(shop.write("interactions.csv", rows + "v,i,2024-01-04,1\n")) == ["2024-01-04"]
    # The order of the rows does not matter, a value does.
    lines = rows.splitlines(keepends=True)
    shuffled = "".join([lines[0], *reversed(lines[1:])]) + "v,i,2024-01-04,1\n"
    assert ingest_due(shop.write("interactions.csv", shuffled)) == []
    corrected = shuffled.replace("u,i,2024-01-07,1", "u,i,2024-01-07,2")
    assert ingest_due(shop.write("interactions.csv", corrected)) == ["2024-01-07"]
    assert len(shop.rows("from raw.interactions")) == 11


def test_new_changed_and_removed_files_make_their_days_due(
    tmp_path: Path, read_names: list[str]
) -> None:
    shop = SourceFolder(tmp_path, shrinkage="replace")
    for day in day_keys(4):
        shop.write(f"interactions/{day}.csv", HEADER + f"u,i,{day},1\n")
    ingest_due(shop)
    read_names.clear()
    shop.write("interactions/late.csv", HEADER + "u,j,2024-01-02,1\nu,j,2024-01-05,1\n")
    assert ingest_due(shop) == ["2024-01-02", "2024-01-05"]
    assert set(read_names) == {"late.csv", "2024-01-02.csv"}
    (shop.folder / "interactions/2024-01-03.csv").unlink()
    assert ingest_due(shop) == ["2024-01-03"]
    (shop.folder / "interactions/2024-01-01.csv").rename(shop.folder / "interactions/x.csv")
    assert ingest_due(shop) == ["2024-01-01"]
    days = [str(row["date"]) for row in shop.rows("from raw.interactions order by date")]
    assert days == ["2024-01-01", "2024-01-02", "2024-01-02", "2024-01-04", "2024-01-05"]


def test_unchanged_files_are_not_read(tmp_path: Path, read_names: list[str]) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-02,1\n")
    ingest_due(shop)
    read_names.clear()
    assert due_days(shop) == []
    assert shop.source.day_range(INTERACTIONS) == (dt.date(2024, 1, 2),) * 2
    assert shop.source.newest_complete_day(LAST_DAY) == dt.date(2024, 1, 2)
    assert read_names == []
    # After an equal copy, the file is read once for the index.
    path = shop.folder / "interactions.csv"
    os.utime(path, (1, 1))
    assert due_days(shop) == []
    assert due_days(shop) == []
    assert set(read_names) == {"interactions.csv"}


def test_undatable_rows_belong_to_the_newest_day_of_their_file(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    rows = HEADER + "u,i,2024-01-02,1\nu,i,2024-01-05,1\nu,i,2023-12-01,1\n"
    ingest_due(shop.write("interactions.csv", rows))
    assert ingest_due(shop.write("interactions.csv", rows + "u,i,never,1\n")) == ["2024-01-05"]
    # The newest day changes: the row leaves the old one.
    assert ingest_due(shop.write("interactions.csv", rows + "u,i,never,1\nu,i,2024-01-06,1\n")) == [
        "2024-01-05",
        "2024-01-06",
    ]
    refused = shop.rows("select date::VARCHAR as date from raw.quarantine")
    assert [row["date"] for row in refused] == ["2024-01-06"] * 2


def test_settings_that_change_the_reading_make_all_days_due(tmp_path: Path) -> None:
    ingest_due(SourceFolder(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-02,1\n"))
    for options in (
        {"formats": {"interactions": {"amount": "1.234,56"}}},
        {"where": {"interactions": "amount > '0'"}},
        {"columns": {"interactions": {"quantity": "amount"}}},
    ):
        assert len(ingest_due(SourceFolder(tmp_path, **options))) == 10
        assert ingest_due(SourceFolder(tmp_path, **options)) == []


def test_a_new_column_that_changes_the_mapping_makes_days_of_old_files_due(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    shop.write("interactions/1.csv", "user_id,item_id,day,qty\nu,i,2024-01-02,3\n")
    ingest_due(shop)
    assert shop.rows("select quantity from raw.interactions") == [{"quantity": 3.0}]
    # A file without the columns of the others is read like them.
    shop.write("interactions/2.csv", "user_id,item_id,day\nu,i,2024-01-04\n")
    assert ingest_due(shop) == ["2024-01-04"]
    # `quantity` now is the column of that name, as if all files were read together.
    shop.write("interactions/3.csv", "user_id,item_id,day,quantity\nu,i,2024-01-03,4\n")
    assert ingest_due(shop) == ["2024-01-02", "2024-01-03", "2024-01-04"]
    rows = shop.rows("select quantity from raw.interactions order by date")
    assert [row["quantity"] for row in rows] == [None, 4.0, None]


def write_month(shop: SourceFolder, suffix: str, names: tuple[str, ...]) -> None:
    """Writes the second of two files, whose rows are alike but for the names of the columns."""
    days = ("2024-01-04", "2024-01-05")
    columns = {name: n for n, name in enumerate(names)}
    rows = [("u", "i", day, 2.0, 30.0) for day in days]
    path = shop.folder / f"interactions/2.{suffix}"
    if suffix == "csv":
        text = "".join(",".join(map(str, row)) + "\n" for row in [names, *rows])
        shop.write(f"interactions/2.{suffix}", text)
    elif suffix == "jsonl":
        objects = [{name: row[n] for name, n in columns.items()} for row in rows]
        shop.write(f"interactions/2.{suffix}", "".join(f"{json.dumps(o)}\n" for o in objects))
    else:
        pq.write_table(
            pa.table({name: [row[n] for row in rows] for name, n in columns.items()}), path
        )


NAMES = ("user_id", "item_id", "day", "quantity", "amount")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_other_names_of_columns_make_the_days_of_their_file_due(
    tmp_path: Path, suffix: str
) -> None:
    shop = SourceFolder(tmp_path)
    shop.write("interactions/1.csv", ",".join(NAMES) + "\nu,i,2024-01-02,1,10\n")
    if suffix != "csv":
        files = ["interactions/1.csv", f"interactions/2.{suffix}"]
        shop = SourceFolder(tmp_path, files={"interactions": files})
    write_month(shop, suffix, NAMES)
    ingest_due(shop)
    values = "select quantity as q, amount as a from raw.interactions order by date"
    assert [tuple(row.values()) for row in shop.rows(values)] == [(1, 10), (2, 30), (2, 30)]
    write_month(shop, suffix, (*NAMES[:3], "amount", "quantity"))
    assert ingest_due(shop) == ["2024-01-04", "2024-01-05"]
    assert [tuple(row.values()) for row in shop.rows(values)] == [(1, 10), (30, 2), (30, 2)]
    write_month(shop, suffix, (*NAMES[:3], "quantity", "paid"))
    assert ingest_due(shop) == ["2024-01-04", "2024-01-05"]
    assert [tuple(row.values()) for row in shop.rows(values)][1:] == [(2, None), (2, None)]
    write_month(shop, suffix, NAMES)
    assert ingest_due(shop) == ["2024-01-04", "2024-01-05"]


def forget_headers(shop: SourceFolder) -> None:
    """Makes the index and the log those of a home from before names of columns counted."""
    path = shop.settings.home / "ingests" / "interactions.files.json"
    index = FileIndex.model_validate_json(path.read_text())
    index.files = {n: f.model_copy(update={"header": ""}) for n, f in index.files.items()}
    path.write_text(index.model_dump_json(exclude_defaults=True))
    with update_ingest_log(shop.settings.home, INTERACTIONS) as log:
        now = index.fingerprints(list(log.days), shop.state.first_day, shop.state.default_date)
        for day, entry in log.days.items():
            entry.fingerprint = now[day]


def test_an_earlier_index_without_names_of_columns_is_taken_as_it_is(
    tmp_path: Path, read_names: list[str]
) -> None:
    rows = "".join(f"u,i,{day},1\n" for day in day_keys(3))
    shop = SourceFolder(tmp_path).write("interactions/1.csv", HEADER + rows)
    ingest_due(shop.write("interactions/2.csv", HEADER + "v,i,2024-01-05,1\n"))
    forget_headers(shop)
    read_names.clear()
    assert due_days(shop) == [] and read_names == []
    shop.write("interactions/1.csv", HEADER + rows + "v,i,2024-01-03,1\n")
    assert ingest_due(shop) == ["2024-01-03"]
    swapped = HEADER.replace("user_id,item_id", "item_id,user_id")
    shop.write("interactions/1.csv", swapped + rows + "v,i,2024-01-03,1\n")
    assert ingest_due(shop) == day_keys(3)


def test_rows_that_a_condition_leaves_out_are_counted_on_their_days(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, where={"interactions": "amount <> '0'"})
    shop.write("interactions.csv", HEADER + "u,i,2024-01-02,1\nu,i,2024-01-09,0\n")
    ingest_due(shop)
    assert shop.source.day_range(INTERACTIONS) == (dt.date(2024, 1, 2),) * 2
    shop.write("interactions.csv", HEADER + "u,i,2024-01-02,1\nu,i,2024-01-08,0\n")
    assert ingest_due(shop) == ["2024-01-08", "2024-01-09"]


def test_days_of_a_query_are_due_when_their_rows_change(tmp_path: Path) -> None:
    query = "select user_id, item_id, day::DATE as date from 'sales*.csv'"
    shop = SourceFolder(tmp_path, queries={"interactions": query})
    shop.write("sales1.csv", "user_id,item_id,day\nu,i,2024-01-02\nu,i,2024-01-03\n")
    assert len(ingest_due(shop)) == 10
    shop.write("sales2.csv", "user_id,item_id,day\nu,i,2024-01-05\n")
    assert ingest_due(shop) == ["2024-01-05"]


def test_an_index_of_another_version_is_made_again(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-02,1\n")
    ingest_due(shop)
    path = shop.settings.home / "ingests" / "interactions.files.json"
    index = path.read_text()
    for text in ("{", '{"settings": 1}', json.dumps({"settings": "x", "files": {"a": {}}})):
        path.write_text(text)
        assert due_days(shop) == []
        assert path.read_text() == index


def test_a_check_of_the_source_writes_no_index(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-02,1\n")
    check_source(shop.settings)
    assert not shop.settings.home.exists()


ROW = st.tuples(
    st.sampled_from([*day_keys(5), "2023-12-30", "never", ""]),
    st.sampled_from(["1", "2", "x"]),
)
FILES = st.dictionaries(
    st.sampled_from(["a.csv", "b.csv", "c.parquet"]), st.lists(ROW, min_size=1, max_size=4),
    min_size=1,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=ONE_FIXTURE_FOR_ALL)
@given(versions=st.lists(FILES, min_size=1, max_size=3))
def test_ingests_of_due_days_equal_an_ingest_of_all_days(
    tmp_path_factory: pytest.TempPathFactory, versions: list[dict[str, list[tuple[str, str]]]]
) -> None:
    """Whatever changes, days that are not due have the rows that a new ingest would give them."""
    options: dict[str, Any] = {"files": {"interactions": ["in/*"]}, "shrinkage": "replace"}
    shop = SourceFolder(tmp_path_factory.mktemp("shop"), **options)
    for files in versions:
        for old in (shop.folder / "in").glob("*"):
            old.unlink()
        for name, rows in files.items():
            if name.endswith(".csv"):
                text = "".join(f"u,i,{day},{amount}\n" for day, amount in rows)
                shop.write(f"in/{name}", HEADER + text)
            else:
                values = ", ".join(f"('u', 'i', '{day}', '{amount}')" for day, amount in rows)
                shop.write(f"in/{name}", b"")
                duckdb.execute(
                    f"copy (select * from (values {values}) t(user_id, item_id, occurred_at, "
                    f"amount)) to '{shop.folder / 'in' / name}'"
                )
        ingest_due(shop)
    expected = SourceFolder(tmp_path_factory.mktemp("other"), **options)
    expected.folder.rmdir()
    shop.folder.rename(expected.folder)
    expected.ingest()
    # The number of a refused row is that of when its day was ingested.
    for columns in ("* from raw.interactions", "* exclude (row_number) from raw.quarantine"):
        query = f"select {columns} order by all"
        assert shop.rows(query) == expected.rows(query)
