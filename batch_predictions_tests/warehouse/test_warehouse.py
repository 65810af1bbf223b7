"""Writing and reading partitions: one or a range, from queries, Arrow or shards."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.settings import DuckDBSettings, Settings
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.schema_sql import WarehouseError
from batch_predictions_tests.worlds.pets import (
    DAY,
    EMPTY,
    NEXT,
    PETS,
    ROW,
    make_pets,
    read_ids,
    read_pets,
)


def test_an_empty_partition_is_a_file_without_rows_and_the_view_is_typed(
    warehouse: Warehouse,
) -> None:
    schema = warehouse.query("from raw.pets").schema
    result = warehouse.replace_partition(PETS, DAY, EMPTY)
    assert result.rows == 0 and result.path.exists()
    assert warehouse.partitions(PETS) == [DAY]
    rows = warehouse.query("from raw.pets")
    assert rows.num_rows == 0 and rows.schema == schema
    assert rows.schema.field("legs").type == pa.int64()
    assert rows.schema.field("toys").type == pa.list_(pa.string())


def test_a_query_that_needs_more_disk_than_the_settings_allow_fails(tmp_path: Path) -> None:
    limits = DuckDBSettings(memory_limit="100MB", max_temp_directory_size="50MB")
    warehouse = Warehouse.of(Settings(home=tmp_path / "home", duckdb=limits))
    rows = "select range as a, md5(range::varchar) as b from range(20_000_000) order by b"
    with pytest.raises(duckdb.OutOfMemoryException, match="max_temp_directory_size"):
        warehouse.value(f"select count(*) from (from ({rows}) limit 10_000_000)")


def test_arrow_and_shards_can_be_written_like_queries(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = make_pets(
        pet_id=["1"],
        weight=[1.5],
        legs=[4],
        tags=[{"a": "b"}],
        toys=[["ball"]],
        passport=['{"no": 7}'],
        born=[dt.datetime(2024, 2, 1, 3, 4, 5)],
    )
    warehouse.replace_partition(PETS, DAY, ROW)
    expected = read_pets(warehouse)
    warehouse.replace_partition(PETS, DAY, rows)
    assert read_pets(warehouse) == expected
    assert not warehouse.replace_partition(PETS, DAY, rows.to_reader()).changed
    shards = [tmp_path / "one.parquet", tmp_path / "it's.parquet"]
    pq.write_table(rows, shards[0])
    pq.write_table(rows.slice(1), shards[1])
    warehouse.replace_partition(PETS, DAY, shards)
    assert read_pets(warehouse) == expected
    with pytest.raises(WarehouseError, match="no shards"):
        warehouse.replace_partition(PETS, DAY, [])


def test_rows_are_sorted_by_the_key_and_equal_rows_give_equal_bytes(warehouse: Warehouse) -> None:
    names = [f"p{n:03}" for n in range(200)]
    warehouse.replace_partition(PETS, DAY, make_pets(pet_id=names[::-1]))
    assert read_ids(warehouse) == names
    stat_before = warehouse.path(PETS, DAY).stat()
    second = warehouse.replace_partition(PETS, DAY, make_pets(pet_id=names))
    assert not second.changed and second.rows == 200
    stat_after = warehouse.path(PETS, DAY).stat()
    assert (stat_after.st_mtime_ns, stat_after.st_ino) == (
        stat_before.st_mtime_ns,
        stat_before.st_ino,
    )
    assert warehouse.replace_partition(PETS, DAY, make_pets(pet_id=names[:-1])).changed


def test_bytes_do_not_depend_on_the_number_of_threads(settings: Settings, tmp_path: Path) -> None:
    rows = (
        "select hash(i)::VARCHAR as pet_id, random() * 0 + i / 7 as weight, i as legs, "
        "map {'n': i::VARCHAR} as tags, [i::VARCHAR] as toys, null as passport, "
        "null as born from range(300_000) as r(i)"
    )
    contents = []
    for threads in (1, 2):
        home = tmp_path / str(threads)
        with_threads = DuckDBSettings(threads=threads)
        other = Warehouse.of(settings.model_copy(update={"home": home, "duckdb": with_threads}))
        contents.append(other.replace_partition(PETS, DAY, rows).path.read_bytes())
    assert contents[0] == contents[1]


def test_metadata_is_stored_in_the_footer(warehouse: Warehouse) -> None:
    assert warehouse.metadata(PETS, DAY) == {}
    warehouse.replace_partition(PETS, DAY, ROW, metadata={"source": "it's a file", "hash": "0f"})
    assert warehouse.metadata(PETS, DAY) == {"source": "it's a file", "hash": "0f"}
    assert warehouse.replace_partition(PETS, DAY, ROW, metadata={"source": "other"}).changed


def test_a_range_is_written_from_one_query_and_days_without_rows_are_empty(
    warehouse: Warehouse,
) -> None:
    rows = f"select date '{NEXT}' as date, * from ({ROW})"
    first = warehouse.replace_partitions(PETS, [DAY, NEXT], rows)
    assert {key: result.rows for key, result in first.items()} == {DAY: 0, NEXT: 1}
    assert warehouse.partitions(PETS) == [DAY, NEXT]
    second = warehouse.replace_partitions(PETS, [DAY, NEXT], rows)
    assert not any(result.changed for result in second.values())


def test_an_unchanged_day_keeps_its_file_when_another_day_of_the_range_has_nulls(
    warehouse: Warehouse,
) -> None:
    """Of a column without nulls DuckDB writes other bytes, which are the same rows."""
    row_of_day = f"select date '{DAY}' as date, * from ({ROW})"
    unknown = f"select date '{NEXT}' as date, * replace (null::DOUBLE as weight) from ({ROW})"
    first = warehouse.replace_partition(PETS, DAY, row_of_day)
    bytes_before = first.path.read_bytes()
    results = warehouse.replace_partitions(
        PETS, [DAY, NEXT], f"({row_of_day}) union all by name ({unknown})"
    )
    assert not results[DAY].changed and first.path.read_bytes() == bytes_before
    heavier = f"select * replace (2.5::DOUBLE as weight) from ({row_of_day})"
    assert warehouse.replace_partitions(
        PETS, [DAY, NEXT], f"({heavier}) union all by name ({unknown})"
    )[DAY].changed


def test_a_range_can_be_written_from_a_temporary_table(warehouse: Warehouse) -> None:
    with warehouse.connect() as db:
        db.execute(f"create temp table mine as select date '{DAY}' as date, * from ({ROW})")
        rows = "select * from mine where legs = $legs"
        results = warehouse.replace_partitions(PETS, [DAY], rows, {"legs": 4, "other": 1}, db=db)
        left = db.execute("select count(*) from duckdb_tables() where temporary").fetchone()
    assert results[DAY].rows == 1
    assert left == (1,)


@pytest.mark.parametrize("stray", ["date '2024-03-09'", "null::DATE"])
def test_rows_outside_the_range_are_an_error_and_nothing_is_written(
    warehouse: Warehouse, stray: str
) -> None:
    rows = f"select date '{DAY}' as date, * from ({ROW}) union all select {stray}, * from ({ROW})"
    with pytest.raises(WarehouseError, match=r"1 rows have date (2024-03-09|None), which"):
        warehouse.replace_partitions(PETS, [DAY, NEXT], rows)
    assert warehouse.partitions(PETS) == []


def test_a_range_without_its_partition_column_is_an_error(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match=r"raw\.pets \(missing: date\)"):
        warehouse.replace_partitions(PETS, [DAY], ROW)


def test_a_stream_has_batches(warehouse: Warehouse) -> None:
    with warehouse.stream("select i from range($n) as r(i)", {"n": 5000}, 2048) as reader:
        batches = [batch.num_rows for batch in reader]
    assert sum(batches) == 5000 and max(batches) <= 2048


def test_nothing_can_be_written_through_a_connection(warehouse: Warehouse) -> None:
    with warehouse.connect() as db, pytest.raises(duckdb.Error, match="read-only"):
        db.execute("create table warehouse.raw.mine as select 1 as x")


def test_a_frame_keeps_whole_numbers_with_nulls_and_days(warehouse: Warehouse) -> None:
    query = "select $day::DATE as date, unnest([1, null]) as number, 'a' as text"
    frame = warehouse.frame(query, {"day": "2024-03-03"})
    assert frame.dtypes.astype(str).to_dict()["number"] == "Int32"
    assert frame["date"].dt.year.tolist() == [2024, 2024]
    assert frame["number"].isna().tolist() == [False, True] and frame["text"].tolist() == ["a", "a"]
