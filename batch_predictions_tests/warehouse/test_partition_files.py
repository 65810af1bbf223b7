"""Paths of partitions, and drafts of writes that fail or whose process died."""

from __future__ import annotations

import fcntl
import os
import socket
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_predictions.settings import Settings
from batch_predictions.tables import QUARANTINE, USERS
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.schema_sql import WarehouseError
from batch_predictions_tests.worlds.pets import DAY, EMPTY, PETS, ROW

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
        with pytest.raises(WarehouseError, match=f"{table.qualified} is partitioned by"):
            warehouse.path(table, day, part)


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
    # Two days later the process of the other host is dead too.
    two_days_ago = elsewhere.stat().st_mtime - 2 * 86_400
    os.utime(elsewhere, (two_days_ago, two_days_ago))
    warehouse.replace_partition(PETS, DAY, ROW)
    assert not elsewhere.exists()


def test_drafts_of_a_process_are_removed_though_its_number_is_in_use_again(
    warehouse: Warehouse,
) -> None:
    # As a container leaves them that was killed and started again: its process has the number 1.
    drafts = warehouse.folder / ".tmp"
    killed = drafts / f"{socket.gethostname()}-{os.getpid()}-0a"
    killed.mkdir(parents=True)
    (killed / ".lock").touch()
    running = drafts / f"{socket.gethostname()}-{os.getpid()}-0b"
    running.mkdir()
    with (running / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        warehouse.replace_partition(PETS, DAY, ROW)
    assert {path for path in drafts.iterdir() if path.name != "spill"} == {running}


def test_a_write_that_fails_leaves_no_draft(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError):
        warehouse.replace_partition(PETS, DAY, f"{ROW} union all {ROW}")
    drafts = [path for path in (warehouse.folder / ".tmp").iterdir() if path.name != "spill"]
    assert drafts == [] and warehouse.partitions(PETS) == []
