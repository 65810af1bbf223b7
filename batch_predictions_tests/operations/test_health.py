"""`doctor` finds what is damaged, and takes nothing that is whole for damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from batch_predictions.operations.backup.create import create_backup
from batch_predictions.operations.backup.pool import Pool
from batch_predictions.operations.backup.storage import FolderStorage
from batch_predictions.operations.health import examine, repair_problems
from batch_predictions.serving.release.verification import find_changed_tables
from batch_predictions_tests.worlds.http_service import ALL_TABLES, CONTEXT, predict_all
from batch_predictions_tests.worlds.programs import run_python
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world

KILLED_WRITER = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute(f"pragma journal_mode = {sys.argv[2]}")
db.execute("create table kept (value)")
db.execute("insert into kept values (1)")
db.commit()
db.execute("pragma cache_size = 5")
db.executemany("insert into kept values (?)", [("x" * 500,)] * 2000)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def world(tmp_path: Path) -> ServingWorld:
    return open_world(tmp_path / "home")


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_of_a_killed_process_is_whole(
    world: ServingWorld, tmp_path: Path, mode: str
) -> None:
    path = world.settings.home / "dagster" / "index.db"
    path.parent.mkdir(parents=True)
    run_python("-c", KILLED_WRITER, str(path), mode, check=False)
    left_over = path.with_name(f"index.db-{'journal' if mode == 'delete' else 'wal'}")
    assert left_over.exists()
    backup = create_backup(world.settings.home, Pool(FolderStorage(tmp_path / "backups")), "a")
    assert "dagster/index.db" in {file.path for file in backup.files}
    assert examine(world.settings) == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select * from kept").fetchall() == [(1,)]


def test_a_flipped_bit_of_the_served_release_is_found_and_repaired(world: ServingWorld) -> None:
    world.release()
    assert find_changed_tables(world.store, world.warehouse) == []
    assert examine(world.settings) == []
    world.store.close()
    file = world.settings.home / "serving.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    content = bytearray(file.read_bytes())
    at = content.index(b"trendingals-a")
    content[at] ^= 0x01
    file.write_bytes(content)
    [problem] = examine(world.settings)
    assert problem.path == file
    assert "other rows than were published in recommendations" in problem.reason
    assert repair_problems(world.settings, [problem]) == {problem: "moved"}
    assert examine(world.settings) == []


def test_every_published_table_is_compared_as_it_is_stored(world: ServingWorld) -> None:
    predict_all(world)
    world.publish(DAY, *ALL_TABLES, context=CONTEXT)
    assert find_changed_tables(world.store, world.warehouse) == []


def test_partitions_that_were_made_again_are_not_compared(world: ServingWorld) -> None:
    world.release(tag="a")
    world.predict(tag="b")
    assert find_changed_tables(world.store, world.warehouse) == []
