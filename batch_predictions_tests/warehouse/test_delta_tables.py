"""A warehouse in a bucket: the rows of a local one, on machines that share nothing else."""

from __future__ import annotations

import datetime as dt
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest

from batch_predictions.core.home import HomeError
from batch_predictions.core.object_store import ObjectInfo
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES, Column, Table
from batch_predictions.warehouse import Warehouse, WarehouseError
from batch_predictions.warehouse.delta_tables import local_file, tables_of
from batch_predictions.warehouse.integrity import find_damaged
from batch_predictions.warehouse.pointers import read_pointer
from batch_predictions_tests.worlds.bucket import Bucket, FaultyBucket, faulty
from batch_predictions_tests.worlds.bucket_proxy import Kind
from batch_predictions_tests.worlds.programs import run_python

LISTS = TABLES["predictions.retention_audience"]
SCORES = TABLES["predictions.churn_scores"]
USERS = TABLES["raw.users"]
REFUSED = TABLES["raw.quarantine"]
DAYS = ["2026-11-01", "2026-11-02", "2026-11-03"]


@pytest.fixture
def home(new_home: Callable[[], Bucket]) -> Bucket:
    return new_home()


@pytest.fixture
def warehouse(home: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    return home.machine(tmp_path / "first", monkeypatch)


@pytest.fixture
def other(
    home: Bucket, warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Warehouse:
    """The same home on another machine, which looked when the home was empty."""
    other = home.machine(tmp_path / "second", monkeypatch)
    assert other.partitions(SCORES) == []
    return other


def scores(day: str, users: int, days: int = 1) -> str:
    return (
        f"select DATE '{day}' as date, i::varchar as user_id, i / 10 as churn_probability, "
        f"{days} as days_inactive, 'churn-1' as model_version from range({users}) r(i)"
    )


def total(warehouse: Warehouse) -> int:
    return int(warehouse.value("select count(*) from predictions.churn_scores"))


def copies(warehouse: Warehouse) -> list[Path]:
    return sorted(Path(warehouse.home).glob(".cache/*/*"))


def test_rows_are_those_of_a_local_home(warehouse: Warehouse, tmp_path: Path) -> None:
    local = Warehouse.of(Settings(home=tmp_path / "local"))
    for each in (local, warehouse):
        for day in DAYS:
            each.replace_partition(SCORES, day, scores(day, 5))
        each.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 0))
        each.replace_partition(
            LISTS,
            DAYS[0],
            f"select DATE '{DAYS[0]}' as date, 1 as rank, 'u' as user_id, .5 as churn_probability, "
            "3 as days_inactive, 2.5 as margin_at_risk, 2.5 as expected_value, "
            "['a', 'b'] as offer_item_ids, 'r' as reason, true as held_out, "
            "null as model_version",
        )
        each.replace_partition(
            USERS,
            None,
            "select 'u' as user_id, DATE '2020-02-29' as signed_up_on, null as age_bracket, "
            "'f' as gender, '' as location, map {'plan': 'gold', 'x': null} as attributes",
        )
        each.replace_partition(
            REFUSED,
            DAYS[1],
            "select 'shop' as source, 7 as row_number, 'why' as reason, '{\"a\": 1}' as row",
            part={"table_name": "users"},
            metadata={"made": "of"},
        )
        each.remove_partition(SCORES, DAYS[1])
    for table in (SCORES, LISTS, USERS, REFUSED):
        query = f"from {table.qualified} order by all"
        assert warehouse.query(query).equals(local.query(query))
        assert warehouse.partitions(table) == local.partitions(table)
    assert warehouse.metadata(REFUSED, DAYS[1], {"table_name": "users"}) == {"made": "of"}
    # Equal rows have equal files, wherever they are.
    digests = [home.digests(SCORES).of_partitions(DAYS) for home in (warehouse, local)]
    assert digests[0] == digests[1]


def test_equal_rows_make_no_version(warehouse: Warehouse) -> None:
    assert warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 5)).changed
    before = warehouse.versions()
    assert not warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 5)).changed
    assert warehouse.versions() == before
    assert before.keys() == {SCORES.qualified}


def test_many_partitions_are_one_commit(warehouse: Warehouse) -> None:
    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 5))
    version = warehouse.versions()[SCORES.qualified]
    rows = " union all ".join(scores(day, 3) for day in DAYS)
    written = warehouse.replace_partitions(SCORES, DAYS, rows)
    assert [result.rows for result in written.values()] == [3, 3, 3]
    assert warehouse.versions()[SCORES.qualified] == version + 1
    warehouse.drop_partition(SCORES, DAYS[0])
    assert warehouse.partitions(SCORES) == DAYS[1:]


def test_another_machine_downloads_what_it_reads(warehouse: Warehouse, other: Warehouse) -> None:
    for day in DAYS:
        warehouse.replace_partition(SCORES, day, scores(day, 5))
    other.refresh()
    assert other.partitions(SCORES) == DAYS and not copies(other)
    query = f"select count(*) from predictions.churn_scores where date = DATE '{DAYS[2]}'"
    assert other.value(query) == 5
    # DuckDB opens one file to learn the columns.
    assert len(copies(other)) <= 2
    assert total(other) == 15
    assert len(copies(other)) == 3


def test_the_second_of_two_that_replace_one_partition_is_told(
    warehouse: Warehouse, other: Warehouse
) -> None:
    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 5))
    with pytest.raises(WarehouseError, match="another process has replaced date=2026-11-01"):
        other.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 7))
    # Another partition is none of its business.
    other.replace_partition(SCORES, DAYS[1], scores(DAYS[1], 7))
    assert total(other) == 12
    other.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 7))
    with pytest.raises(WarehouseError, match="another process"):
        warehouse.remove_partition(SCORES, DAYS[0])
    warehouse.refresh()
    assert total(warehouse) == 14


@pytest.mark.slow
def test_four_write_different_partitions_at_once(home: Bucket, tmp_path: Path) -> None:
    code = (
        "import sys; from batch_predictions.core.home_bucket import working_folder; "
        "from batch_predictions.settings import Settings; "
        "from batch_predictions.tables import TABLES; "
        "from batch_predictions.warehouse import Warehouse; "
        f"warehouse = Warehouse.of(Settings(home=working_folder('{home.url}'))); "
        f"table = TABLES['{SCORES.qualified}']\n"
        "for number in range(int(sys.argv[1]), 21, 4):\n"
        "    day = f'2026-10-{number:02d}'\n"
        f'    rows = f"{scores("{day}", 4)}"\n'
        "    warehouse.replace_partition(table, day, rows)"
    )

    def write(number: int) -> None:
        cache = str(tmp_path / f"machine-{number}")
        variables = {**os.environ, "BATCH_PREDICTIONS_HOME_CACHE": cache}
        run_python("-c", code, str(number), env=variables)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(1, 5)))
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert total(home.machine(tmp_path / "reader", monkeypatch)) == 80


def test_a_release_reads_the_versions_that_it_was_made_of(warehouse: Warehouse) -> None:
    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 5))
    release = {"versions": warehouse.versions()}
    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 2))
    warehouse.replace_partition(SCORES, DAYS[1], scores(DAYS[1], 2))
    past = warehouse.at(release)
    assert (total(past), total(warehouse)) == (5, 4)
    assert past.partitions(SCORES) == DAYS[:1]
    with pytest.raises(WarehouseError, match="can only be read"):
        past.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 1))
    # What a release needs stays, whatever its age.
    assert warehouse.vacuum(None, [release]) == 0
    assert total(warehouse.at(release)) == 5
    # Erasure keeps nothing.
    assert warehouse.vacuum() == 1
    with pytest.raises(WarehouseError, match=r"churn_scores has no version \d any more"):
        warehouse.at(release)
    assert total(warehouse) == 4


def test_versions_that_are_read_stay(warehouse: Warehouse) -> None:
    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 5))
    release = {"versions": warehouse.versions()}
    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 2))
    past = warehouse.at(release)
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    for since, keep in ((yesterday, []), (None, [release])):
        warehouse.vacuum(since, keep)
        assert (total(past), total(warehouse)) == (5, 2)
    warehouse.vacuum()
    assert not list(Path(warehouse.home).glob(".at/*"))


def test_what_a_process_that_was_killed_among_pointers_has_left_is_mended(
    warehouse: Warehouse, other: Warehouse
) -> None:
    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 5))
    other.refresh()
    warehouse.replace_partition(SCORES, DAYS[1], scores(DAYS[1], 5))
    tables = tables_of(Path(other.home))
    assert tables is not None
    draft_names = [uuid.uuid4(), KeyboardInterrupt]
    with (
        mock.patch("uuid.uuid4", side_effect=draft_names),
        pytest.raises(KeyboardInterrupt),
    ):
        # The pointer is there, and not yet the record of it.
        tables.pull([SCORES])
    assert other.partitions(SCORES) == DAYS[:2]
    warehouse.remove_partition(SCORES, DAYS[1])
    other.refresh()
    assert other.partitions(SCORES) == DAYS[:1]
    assert total(other) == 5


@pytest.fixture
def faulty_home(home: Bucket) -> Iterator[FaultyBucket]:
    with faulty(home) as bucket:
        yield bucket


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dropped", "lost", "cut"])
def test_rows_are_written_once_where_answers_are_lost(
    kind: Kind, faulty_home: FaultyBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = faulty_home.machine(tmp_path / "writer", monkeypatch)
    reader = faulty_home.machine(tmp_path / "reader", monkeypatch)
    patterns = [r"PUT .*_delta_log/\d+\.json", r"PUT .*\.parquet", "GET "]
    for users, pattern in enumerate(patterns, 1):
        with faulty_home.faults(kind, pattern):
            writer.replace_partition(SCORES, DAYS[0], scores(DAYS[0], users))
        with faulty_home.faults(kind, "GET ", 2, 4):
            reader.refresh()
            assert total(reader) == users
    release = {"versions": writer.versions()}
    writer.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 7))
    with faulty_home.faults(kind, r"GET .*_delta_log"):
        assert total(reader.at(release)) == len(patterns)
    with faulty_home.faults(kind, "POST |DELETE "):
        writer.vacuum()
    assert total(writer) == 7


def test_what_was_replaced_lately_stays_however_old_it_is(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 5))
    release = {"versions": warehouse.versions()}
    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 2))
    tables = tables_of(Path(warehouse.home))
    assert tables is not None
    listed, old = tables.bucket.objects.list, dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    long_ago = [".parquet"]

    def list_aged(prefix: str | None = None) -> dict[str, ObjectInfo]:
        return {
            name: info._replace(modified=old) if name.endswith(tuple(long_ago)) else info
            for name, info in listed(prefix).items()
        }

    monkeypatch.setattr(tables.bucket.objects, "list", list_aged)
    since = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    assert warehouse.vacuum(since) == 0
    assert total(warehouse.at(release)) == 5
    long_ago.append(".json")
    assert warehouse.vacuum(since) == 1
    assert total(warehouse) == 2


def test_a_local_home_has_no_versions(tmp_path: Path) -> None:
    local = Warehouse.of(Settings(home=tmp_path / "local"))
    assert local.versions() == {} and local.vacuum() == 0
    with pytest.raises(WarehouseError, match="only a home in a bucket"):
        local.at({"versions": {}})


def test_to_look_for_newer_versions_is_a_request_for_each_table(
    warehouse: Warehouse, other: Warehouse
) -> None:
    tables = tables_of(Path(other.home))
    assert tables is not None
    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 5))
    for _ in range(2):
        tables.bucket.objects.traffic.take()
        tables.pull()
        assert tables.bucket.objects.traffic.take().requests == {"list": len(TABLES)}
        assert other.partitions(SCORES) == DAYS[:1]


@pytest.mark.slow
def test_copies_are_bounded(warehouse: Warehouse, other: Warehouse) -> None:
    for number in range(1, 25):
        warehouse.replace_partition(
            SCORES,
            f"2026-10-{number:02d}",
            scores("2026-10-01", 5).replace("2026-10-01", f"2026-10-{number:02d}"),
        )
    other.refresh()
    tables = tables_of(Path(other.home))
    assert tables is not None
    size = read_pointer(other.path(SCORES, "2026-10-01"))
    assert size is not None
    tables.bucket.cache_bytes = 8 * size.size
    for number in range(1, 25):
        file = local_file(other.path(SCORES, f"2026-10-{number:02d}"))
        # As if it had been asked for long ago.
        os.utime(file, (time.time() - 7200 + number,) * 2)
    assert 4 <= len(copies(other)) <= 9
    assert total(other) == 120


def test_a_column_that_is_declared_later(
    warehouse: Warehouse, other: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 2))
    wider: Table = replace(SCORES, columns=(*SCORES.columns, Column("note", "VARCHAR", "A note.")))
    monkeypatch.setitem(TABLES, SCORES.qualified, wider)
    rows = scores(DAYS[1], 1).replace("'churn-1'", "'n' as note, 'churn-1'")
    warehouse.replace_partition(wider, DAYS[1], rows)
    other.refresh()
    for each in (warehouse, other):
        notes = each.query("select note from predictions.churn_scores order by date, user_id")
        assert notes["note"].to_pylist() == [None, None, "n"]


def test_a_process_that_is_killed_while_it_adds_columns(
    warehouse: Warehouse, other: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deltalake.table import TableAlterer

    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 2))
    wider: Table = replace(SCORES, columns=(*SCORES.columns, Column("note", "VARCHAR", "A note.")))
    monkeypatch.setitem(TABLES, SCORES.qualified, wider)
    rows = scores(DAYS[1], 1).replace("'churn-1'", "'n' as note, 'churn-1'")
    steps: list[str] = []

    def killed_at_the_second_step(name: str) -> Callable[..., None]:
        step = getattr(TableAlterer, name)

        def alter(*values: Any) -> None:
            if steps:
                raise KeyboardInterrupt
            steps.append(name)
            step(*values)

        return alter

    with monkeypatch.context() as patch:
        for name in ("add_columns", "set_table_description"):
            patch.setattr(TableAlterer, name, killed_at_the_second_step(name))
        with pytest.raises(KeyboardInterrupt):
            warehouse.replace_partition(wider, DAYS[1], rows)
    other.refresh()
    other.replace_partition(wider, DAYS[1], rows)
    notes = other.query("select note from predictions.churn_scores order by date, user_id")
    assert notes["note"].to_pylist() == [None, None, "n"]


def test_a_file_of_another_program_is_named(warehouse: Warehouse, home: Bucket) -> None:
    from deltalake import write_deltalake

    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 2))
    rows: pa.Table = warehouse.query(f"from {SCORES.qualified}")
    write_deltalake(f"{home.url}/warehouse/predictions/churn_scores", rows, mode="append")
    with pytest.raises(WarehouseError, match="several files of date=2026-11-01: another program"):
        warehouse.refresh()


def test_a_damaged_object_is_not_read(warehouse: Warehouse, other: Warehouse) -> None:
    warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 2))
    other.refresh()
    pointer = read_pointer(other.path(SCORES, DAYS[0]))
    tables = tables_of(Path(other.home))
    assert pointer is not None and tables is not None
    tables.bucket.objects.put(pointer.name, b"PAR1 is not all")
    with pytest.raises(HomeError, match="is damaged"):
        local_file(other.path(SCORES, DAYS[0]))
    [damaged] = find_damaged(other, thorough=True)
    assert damaged.is_lost and "has 15 bytes of" in damaged.reason
    tables.bucket.objects.put(pointer.name, bytes(pointer.size))
    [damaged] = find_damaged(other, thorough=True)
    assert damaged.is_lost and "is damaged" in damaged.reason


def test_an_object_that_was_deleted_is_told_and_uploaded_by_who_has_a_copy(
    warehouse: Warehouse, other: Warehouse
) -> None:
    path = warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 2)).path
    other.refresh()
    pointer, tables = read_pointer(path), tables_of(Path(warehouse.home))
    others = tables_of(Path(other.home))
    assert pointer is not None and tables is not None and others is not None
    tables.bucket.objects.delete(pointer.name)
    # No row is read from the bucket here, so that nobody would notice.
    assert warehouse.query(f"from {SCORES.qualified}").num_rows == 2
    [damaged] = find_damaged(warehouse, thorough=True)
    assert damaged.is_lost and "has no" in damaged.reason and "a copy is at" in damaged.reason
    [damaged] = find_damaged(other, thorough=True)
    assert damaged.is_lost and "a copy" not in damaged.reason
    assert not others.restore(other.path(SCORES, DAYS[0]))
    assert tables.restore(path)
    assert find_damaged(warehouse, thorough=True) == find_damaged(other, thorough=True) == []


def test_a_damaged_copy_of_an_object_is_downloaded_again(warehouse: Warehouse) -> None:
    path = warehouse.replace_partition(SCORES, DAYS[0], scores(DAYS[0], 2)).path
    copy = local_file(path)
    content = copy.read_bytes()
    copy.write_bytes(bytes(len(content)))
    assert find_damaged(warehouse, thorough=True) == []
    assert copy.read_bytes() == content


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["deltalake", "pandas", "polars"])
def test_other_engines_read_the_tables(engine: str, warehouse: Warehouse, home: Bucket) -> None:
    from deltalake import DeltaTable

    pytest.importorskip(engine)
    for day in DAYS[:2]:
        warehouse.replace_partition(SCORES, day, scores(day, 3))
    warehouse.replace_partition(
        USERS,
        None,
        "select 'u' as user_id, null as signed_up_on, "
        "null as age_bracket, null as gender, null as location, map {'plan': 'gold'} as attributes",
    )
    folder = f"{home.url}/warehouse"
    rows: Any
    if engine == "polars":
        import polars as pl  # type: ignore[import-not-found, unused-ignore]

        rows = pl.read_delta(f"{folder}/predictions/churn_scores").to_dicts()
    elif engine == "pandas":
        rows = DeltaTable(f"{folder}/predictions/churn_scores").to_pandas().to_dict("records")
    else:
        rows = DeltaTable(f"{folder}/predictions/churn_scores").to_pyarrow_table().to_pylist()
        users = DeltaTable(f"{folder}/raw/users").to_pyarrow_table().to_pylist()
        assert users[0]["attributes"] == [("plan", "gold")]
    read = sorted((str(row["date"])[:10], row["user_id"]) for row in rows)
    assert read == [(day, user) for day in DAYS[:2] for user in ("0", "1", "2")]
