"""The warehouse: rows fit their declaration, and a partition is replaced whole or not at all."""

from __future__ import annotations

import datetime as dt
import itertools
import multiprocessing
import os
import signal
import socket
import string
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from batch_predictions.settings import DuckDBSettings, Settings
from batch_predictions.tables import (
    QUARANTINE,
    TABLES,
    USER_SEGMENTS,
    USERS,
    Column,
    Table,
    columns,
    declare,
)
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.schema_sql import WarehouseError, tables_in
from batch_predictions.warehouse.warehouse import _is_concurrent_replace

DAY, NEXT = "2024-03-01", "2024-03-02"
PETS = Table(
    "raw",
    "pets",
    "One row per pet, for these tests.",
    columns("""
        date DATE: day
        pet_id VARCHAR: which
        weight DOUBLE: kg
        legs BIGINT: how many
        tags MAP(VARCHAR, VARCHAR): what is known
        toys VARCHAR[]: in the order of liking
        passport JSON: as it was read
        born TIMESTAMP: moment, UTC
    """),
    key=("pet_id",),
)
ROW = (
    "select '1' as pet_id, 1.5::DOUBLE as weight, 4 as legs, map {'a': 'b'} as tags, "
    "['ball'] as toys, '{\"no\": 7}'::JSON as passport, timestamp '2024-02-01 03:04:05' as born"
)
EMPTY = f"{ROW} where false"


@pytest.fixture(autouse=True)
def _pets() -> Iterator[None]:
    """The table of these tests, taken back afterwards."""
    declare(PETS)
    yield
    del TABLES[PETS.qualified]


def pets(warehouse: Warehouse, day: str = DAY) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = warehouse.query(
        "select * exclude (date) from raw.pets where date = $day", {"day": as_date(day)}
    ).to_pylist()
    return rows


def ids(warehouse: Warehouse, day: str = DAY) -> list[str]:
    return [row["pet_id"] for row in pets(warehouse, day)]


def arrow(**columns_: Any) -> pa.Table:
    """Rows of the table by Arrow, which has no JSON: text stands for it."""
    n = len(columns_["pet_id"])
    types = {
        "pet_id": pa.string(),
        "weight": pa.float64(),
        "legs": pa.int64(),
        "tags": pa.map_(pa.string(), pa.string()),
        "toys": pa.list_(pa.string()),
        "passport": pa.string(),
        "born": pa.timestamp("us"),
    }
    return pa.table(
        {name: pa.array(columns_.get(name, [None] * n), type_) for name, type_ in types.items()}
    )


# --- columns ------------------------------------------------------------------------------------


def test_columns_are_matched_by_name_and_not_by_position(warehouse: Warehouse) -> None:
    names = [column.name for column in PETS.columns if column.name != "date"]
    warehouse.replace_partition(PETS, DAY, ROW)
    in_order = pets(warehouse)
    in_reverse = f"select {', '.join(reversed(names))} from ({ROW})"
    assert not warehouse.replace_partition(PETS, DAY, in_reverse).changed
    assert pets(warehouse) == in_order


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (f"select * exclude (legs, toys) from ({ROW})", "missing: legs, toys"),
        (f"select *, 1 as wings, 2 as tails from ({ROW})", "not declared: wings, tails"),
        (f"select * replace ('four' as legs) from ({ROW})", "legs is VARCHAR, declared BIGINT"),
        (f"select * replace (1 as pet_id) from ({ROW})", "pet_id is INTEGER, declared VARCHAR"),
        (f"select * replace (4.5 as legs) from ({ROW})", r"legs is DECIMAL\(2,1\)"),
        (f"select * replace ([1] as toys) from ({ROW})", r"toys is INTEGER\[\], declared"),
        (f"select * replace (date '2024-01-01' as born) from ({ROW})", "born is DATE"),
        (
            f"select * exclude (legs) replace (1 as pet_id), 1 as wings from ({ROW})",
            "missing: legs; not declared: wings; pet_id is INTEGER",
        ),
        (f"select * replace ('{{bad' as passport) from ({ROW})", "passport"),
    ],
)
def test_rows_that_do_not_fit_are_an_error_that_names_the_columns(
    warehouse: Warehouse, rows: str, message: str
) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    with pytest.raises(WarehouseError, match=message) as caught:
        warehouse.replace_partition(PETS, DAY, rows)
    assert "raw.pets" in str(caught.value)
    assert ids(warehouse) == ["1"]


def test_narrower_numbers_widen_and_nulls_fit_any_type(warehouse: Warehouse) -> None:
    warehouse.replace_partition(
        PETS,
        DAY,
        "select 'a'::ENUM('a', 'b') as pet_id, 2 as weight, 4::TINYINT as legs, null as tags, "
        "null as toys, null as passport, null as born",
    )
    assert pets(warehouse) == [
        {
            "pet_id": "a",
            "weight": 2.0,
            "legs": 4,
            "tags": None,
            "toys": None,
            "passport": None,
            "born": None,
        }
    ]


def test_a_duplicate_key_is_an_error_that_names_it(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    twice = f"{ROW} union all {ROW.replace('4 as legs', '3 as legs')}"
    with pytest.raises(WarehouseError, match=r"key \(pet_id\) is not unique: \('1',\) .* 2 times"):
        warehouse.replace_partition(PETS, DAY, twice)
    assert [row["legs"] for row in pets(warehouse)] == [4]


def test_a_row_of_another_partition_is_an_error(
    warehouse: Warehouse,
) -> None:
    stray = f"{ROW} union all by name (select date '2024-03-02' as date, '2' as pet_id)"
    with pytest.raises(WarehouseError, match="1 rows have date 2024-03-02, not 2024-03-01"):
        warehouse.replace_partition(
            PETS, DAY, f"select * replace (coalesce(date, '{DAY}') as date) from ({stray})"
        )
    with pytest.raises(WarehouseError, match="1 rows have date None"):
        warehouse.replace_partition(PETS, DAY, f"select null::DATE as date, * from ({ROW})")
    assert warehouse.partitions(PETS) == []


def test_rows_may_have_the_partition_column(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, f"select date '{DAY}' as date, * from ({ROW})")
    stored = pq.read_table(warehouse.path(PETS, DAY), partitioning=None)
    assert stored["date"].to_pylist() == [dt.date(2024, 3, 1)]


# --- what comes back ----------------------------------------------------------------------------


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


def test_maps_lists_json_and_times_round_trip(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    assert pets(warehouse) == [
        {
            "pet_id": "1",
            "weight": 1.5,
            "legs": 4,
            "tags": [("a", "b")],
            "toys": ["ball"],
            "passport": '{"no": 7}',
            "born": dt.datetime(2024, 2, 1, 3, 4, 5),
        }
    ]
    query = (
        "select tags['a'], toys[1], passport->>'no', typeof(passport), typeof(tags) from raw.pets"
    )
    assert warehouse.query(query).to_pylist() == [
        dict(
            zip(
                warehouse.query(query).column_names,
                ("b", "ball", "7", "JSON", "MAP(VARCHAR, VARCHAR)"),
                strict=True,
            )
        )
    ]


def test_arrow_and_shards_can_be_written_like_queries(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = arrow(
        pet_id=["1"],
        weight=[1.5],
        legs=[4],
        tags=[{"a": "b"}],
        toys=[["ball"]],
        passport=['{"no": 7}'],
        born=[dt.datetime(2024, 2, 1, 3, 4, 5)],
    )
    warehouse.replace_partition(PETS, DAY, ROW)
    expected = pets(warehouse)
    warehouse.replace_partition(PETS, DAY, rows)
    assert pets(warehouse) == expected
    assert not warehouse.replace_partition(PETS, DAY, rows.to_reader()).changed
    shards = [tmp_path / "one.parquet", tmp_path / "it's.parquet"]
    pq.write_table(rows, shards[0])
    pq.write_table(rows.slice(1), shards[1])
    warehouse.replace_partition(PETS, DAY, shards)
    assert pets(warehouse) == expected
    with pytest.raises(WarehouseError, match="no shards"):
        warehouse.replace_partition(PETS, DAY, [])


@budget(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(["00123", "1.0", "1e3", " 7 ", "NULL", "nan", "0x1F", "2024-01-01", "it's", "ß\U0001f600"])
@given(st.lists(st.text(min_size=1).filter(lambda s: "\0" not in s), unique=True, max_size=8))
def test_ids_round_trip_as_text(warehouse: Warehouse, names: list[str]) -> None:
    names = [name for name in names if name.isprintable()]
    warehouse.replace_partition(PETS, DAY, arrow(pet_id=names))
    assert sorted(ids(warehouse)) == sorted(names)


def test_rows_are_sorted_by_the_key_and_equal_rows_give_equal_bytes(warehouse: Warehouse) -> None:
    names = [f"p{n:03}" for n in range(200)]
    warehouse.replace_partition(PETS, DAY, arrow(pet_id=names[::-1]))
    assert ids(warehouse) == names
    stat_before = warehouse.path(PETS, DAY).stat()
    second = warehouse.replace_partition(PETS, DAY, arrow(pet_id=names))
    assert not second.changed and second.rows == 200
    stat_after = warehouse.path(PETS, DAY).stat()
    assert (stat_after.st_mtime_ns, stat_after.st_ino) == (
        stat_before.st_mtime_ns,
        stat_before.st_ino,
    )
    assert warehouse.replace_partition(PETS, DAY, arrow(pet_id=names[:-1])).changed


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


# --- partitions and parts -----------------------------------------------------------------------


def test_an_unpartitioned_table_is_one_file(warehouse: Warehouse) -> None:
    person = "select 'u' as user_id, null as signed_up_on, null as age_bracket, null as gender, "
    person += "null as location, null as attributes"
    result = warehouse.replace_partition(USERS, None, person)
    assert result.path == warehouse.folder / "raw" / "users" / "data.parquet"
    assert warehouse.value("select user_id from raw.users") == "u"
    assert warehouse.partitions(USERS) == []


def test_parts_of_a_day_are_written_separately_and_read_together(warehouse: Warehouse) -> None:
    def refuse(table: str, number: int) -> None:
        warehouse.replace_partition(
            QUARANTINE,
            DAY,
            "select 's' as source, $number::BIGINT as row_number, 'why' as reason, '{}' as \"row\"",
            {"number": number},
            part={"table_name": table},
        )

    refuse("users", 1)
    refuse("00123", 2)
    refuse("users", 3)
    query = 'select table_name, row_number as "row" from raw.quarantine order by all'
    assert warehouse.query(query).to_pylist() == [
        {"table_name": "00123", "row": 2},
        {"table_name": "users", "row": 3},
    ]
    assert warehouse.partitions(QUARANTINE) == [DAY]
    assert warehouse.remove_partition(QUARANTINE, DAY, {"table_name": "users"})
    assert not warehouse.remove_partition(QUARANTINE, DAY, {"table_name": "users"})
    assert warehouse.value("select count(*) from raw.quarantine") == 1


def test_a_partition_needs_exactly_the_folders_of_its_table(warehouse: Warehouse) -> None:
    for table, day, part in (
        (PETS, None, None),
        (PETS, DAY, {"table_name": "users"}),
        (QUARANTINE, DAY, None),
        (QUARANTINE, DAY, {"tables": "users"}),
        (USERS, DAY, None),
    ):
        with pytest.raises(WarehouseError, match=f"{table.qualified} is divided by"):
            warehouse.path(table, day, part)


HOSTILE = [
    "",
    ".",
    "..",
    "../../etc",
    "a/b",
    "x'; drop table y; --",
    "a b",
    "a\nb",
    "2024-03-01\n",
    "a=b",
    "%2e%2e",
    "*",
    "\0",
]


@pytest.mark.parametrize("value", [*HOSTILE, "2024-3-1", "2024-02-30", "20240301", "2024-W09-5"])
def test_a_partition_key_that_is_not_a_date_is_an_error(warehouse: Warehouse, value: str) -> None:
    # Even without rows, which no cast would refuse: its folder would break the table's view.
    with pytest.raises(WarehouseError):
        warehouse.replace_partition(PETS, value, EMPTY)
    assert warehouse.query("from raw.pets").num_rows == 0


@pytest.mark.parametrize("value", HOSTILE)
def test_a_part_that_cannot_be_a_folder_name_is_an_error(warehouse: Warehouse, value: str) -> None:
    with pytest.raises(WarehouseError, match="cannot name a folder"):
        warehouse.path(QUARANTINE, DAY, {"table_name": value})


@given(st.text(alphabet=string.printable, max_size=12))
def test_no_value_gives_a_path_outside_the_tables_folder(value: str) -> None:
    warehouse = Warehouse.of(Settings(home=Path("/nowhere/home")))
    try:
        path = warehouse.path(QUARANTINE, DAY, {"table_name": value})
    except WarehouseError:
        return
    assert path.parent.parent == warehouse.folder / "raw" / "quarantine" / f"date={DAY}"
    assert path.resolve() == path and "'" not in str(path)


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


# --- queries ------------------------------------------------------------------------------------


def test_parameters_are_bound_and_unused_ones_are_left_out(
    warehouse: Warehouse,
) -> None:
    hostile = "1'; drop table raw.pets; --"
    warehouse.replace_partition(PETS, DAY, arrow(pet_id=[hostile, "2"]))
    rows = warehouse.query(
        "select pet_id from raw.pets where pet_id = $who", {"who": hostile, "unused": 1}
    )
    assert rows["pet_id"].to_pylist() == [hostile]
    result = warehouse.replace_partition(
        PETS, NEXT, f"select * replace ($who::VARCHAR as pet_id) from ({ROW})", {"who": hostile}
    )
    assert result.rows == 1 and ids(warehouse, NEXT) == [hostile]
    assert warehouse.value("select count(*) from raw.pets where pet_id = $a", {"a": "9"}) == 0
    assert warehouse.value("select pet_id from raw.pets where pet_id = $a", {"a": "9"}) is None


def test_a_stream_has_batches(warehouse: Warehouse) -> None:
    with warehouse.stream("select i from range($n) as r(i)", {"n": 5000}, 2048) as reader:
        batches = [batch.num_rows for batch in reader]
    assert sum(batches) == 5000 and max(batches) <= 2048


def test_nothing_can_be_written_through_a_connection(warehouse: Warehouse) -> None:
    with warehouse.connect() as db, pytest.raises(duckdb.Error, match="read-only"):
        db.execute("create table warehouse.raw.mine as select 1 as x")


def test_tables_are_found_in_the_syntax_tree_of_a_query() -> None:
    query = """
        with pets as (select * from raw.users)  -- raw.items
        select 'raw.reviews' from pets join raw.pets as p on true
        where exists (select 1 from features.item_state) and x in (from range(3))
    """
    assert tables_in(query) == {"raw.users", "raw.pets", "features.item_state"}
    assert tables_in("select 1") == set()
    assert tables_in("from elsewhere.users, users") == set()
    with pytest.raises(ValueError, match="not a query"):
        tables_in("select from where")


# --- views --------------------------------------------------------------------------------------


def analyst(home: Path, sql: str) -> list[tuple[Any, ...]]:
    """What somebody sees who opens the views' file."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as db:
        return db.execute(sql).fetchall()


def test_views_read_files_that_are_added_later(warehouse: Warehouse) -> None:
    views = warehouse.ensure_views()
    stat_before = views.stat()
    assert analyst(views.parent, "select count(*) from raw.pets") == [(0,)]
    warehouse.replace_partition(PETS, DAY, ROW)
    warehouse.replace_partition(PETS, NEXT, ROW)
    assert views.stat().st_ino == stat_before.st_ino
    assert analyst(views.parent, "select count(*), max(date)::VARCHAR from raw.pets") == [(2, NEXT)]


def test_views_read_files_without_a_newer_column(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    newer = Table(
        "raw", "pets", PETS.description, (*PETS.columns, Column("wings", "BIGINT", "how many"))
    )
    TABLES[PETS.qualified] = newer
    assert warehouse.value("select typeof(wings) from raw.pets") == "BIGINT"
    warehouse.replace_partition(newer, NEXT, f"select *, 2 as wings from ({ROW})")
    rows = warehouse.query("select wings from raw.pets order by date")
    assert rows["wings"].to_pylist() == [None, 2]


def test_views_are_rewritten_only_when_a_table_is_declared(
    warehouse: Warehouse,
) -> None:
    views = warehouse.ensure_views()
    first = views.stat().st_ino
    assert warehouse.ensure_views().stat().st_ino == first
    more = declare(Table("raw", "more_pets", "For this test.", PETS.columns, key=("pet_id",)))
    try:
        assert warehouse.query("from raw.more_pets").num_rows == 0
        second = views.stat().st_ino
        assert second != first
    finally:
        del TABLES[more.qualified]
    # A process that knows fewer tables leaves those of another alone.
    assert warehouse.ensure_views().stat().st_ino == second
    assert analyst(views.parent, "from raw.more_pets") == []


def test_views_follow_a_home_that_moves(settings: Settings, tmp_path: Path) -> None:
    Warehouse.of(settings).replace_partition(PETS, DAY, ROW)
    moved = settings.home.rename(tmp_path / "it's moved")
    moved_warehouse = Warehouse.of(settings.model_copy(update={"home": moved}))
    assert ids(moved_warehouse) == ["1"]
    assert analyst(moved, "select pet_id from raw.pets") == [("1",)]


def test_the_views_file_has_no_rows(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    home = Path(warehouse.home)
    assert analyst(home, "select count(*) from duckdb_tables()") == [(0,)]
    views = "select schema_name || '.' || view_name from duckdb_views() where not internal"
    assert {name for (name,) in analyst(home, views)} == set(TABLES)


# --- crashes ------------------------------------------------------------------------------------


def test_drafts_of_dead_processes_are_removed_and_of_running_ones_are_not(
    warehouse: Warehouse,
) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    host, drafts = socket.gethostname(), warehouse.folder / ".tmp"
    dead = drafts / f"{host}-{process.pid}-0a"
    own_draft = drafts / f"{host}-{os.getpid()}-0b"
    parents = drafts / f"{host}-{os.getppid()}-0c"
    elsewhere = drafts / f"another-{host}-{process.pid}-0d"
    for folder in (dead, own_draft, parents, elsewhere):
        folder.mkdir(parents=True)
        (folder / "data.parquet").write_bytes(b"half")
    warehouse.replace_partition(PETS, DAY, ROW)
    left = {path for path in drafts.iterdir() if path.name != "spill"}
    assert left == {own_draft, parents, elsewhere}


def test_a_write_that_fails_leaves_no_draft(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError):
        warehouse.replace_partition(PETS, DAY, f"{ROW} union all {ROW}")
    drafts = [path for path in (warehouse.folder / ".tmp").iterdir() if path.name != "spill"]
    assert drafts == [] and warehouse.partitions(PETS) == []


KILLS = 10


def replace_forever(home: Path, number: int, sender: Connection) -> None:
    """Replaces a partition by one content after the other; every value says which it is."""
    warehouse = Warehouse.of(Settings(home=home))
    while True:
        number += 1
        warehouse.replace_partition(
            USER_SEGMENTS,
            DAY,
            "select i::VARCHAR as user_id, $n::VARCHAR as age_bracket, $n::VARCHAR as gender, "
            "repeat('x', 20) as location from range(4_000 + $n % 3) as r(i)",
            {"n": number},
        )
        sender.send(number)


SEGMENT_ROWS = "select user_id, age_bracket, gender from features.user_segments where date = $day"


def read_segments(warehouse: Warehouse, *, streamed: bool) -> tuple[int, int, set[str]]:
    """Rows, distinct users and distinct contents, by a query or by a stream."""
    bound = {"day": as_date(DAY)}
    if not streamed:
        query = f"""select count(*) as n, count(distinct user_id) as users,
            list(distinct age_bracket) || list(distinct gender) as content from ({SEGMENT_ROWS})"""
        row = warehouse.query(query, bound).to_pylist()[0]
        return row["n"], row["users"], set(row["content"])
    with warehouse.stream(SEGMENT_ROWS, bound, 4096) as reader:
        table = reader.read_all()
    content = {*table["age_bracket"].to_pylist(), *table["gender"].to_pylist()}
    return table.num_rows, len(set(table["user_id"].to_pylist())), content


class SegmentReader(threading.Thread):
    """Reads until it is stopped, and collects problems; `reads` counts finished reads."""

    def __init__(self, warehouse: Warehouse) -> None:
        super().__init__()
        self.warehouse = warehouse
        self.stopped, self.reads = threading.Event(), threading.Semaphore(0)
        self.versions: set[int] = set()
        self.problems: list[str] = []

    def run(self) -> None:
        streamed = False
        while not self.stopped.is_set():
            streamed = not streamed
            try:
                n, users, content = read_segments(self.warehouse, streamed=streamed)
                version = int(min(content))
                if len(content) > 1 or not n == users == 4_000 + version % 3:
                    self.problems.append(f"{n} rows, {users} users of {content}")
                self.versions.add(version)
            except Exception as error:  # every error is a problem
                self.problems.append(repr(error))
            self.reads.release()


def test_a_reader_sees_old_or_new_rows_while_writers_are_killed(warehouse: Warehouse) -> None:
    warehouse.replace_partition(
        USER_SEGMENTS,
        DAY,
        "select i::VARCHAR as user_id, '0' as age_bracket, '0' as gender, '' as location "
        "from range(4_000) as r(i)",
    )
    reader = SegmentReader(warehouse)
    reader.start()
    # The fork server imports the modules once, for all writers.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["batch_predictions.warehouse"])
    try:
        for kill in range(KILLS):
            receiver, sender = context.Pipe(duplex=False)
            writer = context.Process(
                target=replace_forever, args=(Path(warehouse.home), kill * 10_000, sender)
            )
            writer.start()
            sender.close()
            replaced = receiver.recv()
            # Each kill hits another point of a replacement: the reader's pace is the clock.
            for _ in range(1 + kill % 4):
                reader.reads.acquire()
                while receiver.poll():
                    replaced = receiver.recv()
            assert writer.pid
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
            receiver.close()
            stored = int(warehouse.value("select min(gender) from features.user_segments"))
            assert stored >= replaced
    finally:
        reader.stopped.set()
        reader.join()
    assert not reader.problems, reader.problems[:3]
    assert len(reader.versions) > KILLS
    # The next write removes what the killed processes left.
    warehouse.replace_partition(PETS, DAY, ROW)
    left = [path.name for path in (warehouse.folder / ".tmp").iterdir() if path.name != "spill"]
    assert left == []


def test_a_query_is_tried_again_if_a_file_is_replaced_during_it(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB opens a file to plan and once more to read; here it is replaced all the time."""
    contents = []
    for n in (3_000, 5_000):
        rows = "select i::VARCHAR as pet_id, i / 7 as weight, $n::BIGINT as legs, null as tags, "
        rows += "null as toys, null as passport, null as born from range($n) as r(i)"
        result = warehouse.replace_partition(PETS, DAY, rows, {"n": n})
        contents.append(result.path.rename(result.path.with_name(str(n))))
    target = warehouse.path(PETS, DAY)
    target.hardlink_to(contents[-1])
    stop = threading.Event()

    def replace() -> None:
        for content in itertools.cycle(contents):
            if stop.is_set():
                return
            draft = target.with_name("draft")
            draft.hardlink_to(content)
            draft.replace(target)

    misread: list[Exception] = []

    def noted(error: duckdb.Error) -> bool:
        misread.append(error)
        return _is_concurrent_replace(error)

    monkeypatch.setattr("batch_predictions.warehouse.warehouse._is_concurrent_replace", noted)
    replacing = threading.Thread(target=replace)
    replacing.start()
    sums = "select count(*), count(distinct pet_id), min(legs), max(legs) from raw.pets"
    try:
        for _ in range(500):
            (row,) = warehouse.query(sums).to_pylist()
            assert len(set(row.values())) == 1 and set(row.values()) < {3_000, 5_000}
            if len(misread) >= 3:
                break
    finally:
        stop.set()
        replacing.join()
    assert misread, "no file was ever replaced between the plan and the reading"


def test_a_corrupt_file_is_an_error(warehouse: Warehouse) -> None:
    path = warehouse.replace_partition(PETS, DAY, ROW).path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(duckdb.Error):
        warehouse.query("from raw.pets")


def test_different_partitions_can_be_written_concurrently(warehouse: Warehouse) -> None:
    days = [f"2024-03-{day:02}" for day in range(1, 9)]
    together = threading.Barrier(len(days))
    errors: list[BaseException] = []

    def write(day: str) -> None:
        try:
            together.wait()
            warehouse.replace_partition(PETS, day, ROW)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(day,)) for day in days]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and warehouse.partitions(PETS) == days
    assert warehouse.value("select count(*) from raw.pets") == len(days)
