"""A home is backed up while it is used, and restored as it was."""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest
from typer.testing import CliRunner

from batch_predictions.cli.command_line import make_app
from batch_predictions.core import object_store
from batch_predictions.core.home import write_state
from batch_predictions.operations.backup import create as create_module
from batch_predictions.operations.backup import storage as storage_module
from batch_predictions.operations.backup.create import create_backup
from batch_predictions.operations.backup.pool import Pool
from batch_predictions.operations.backup.restore import restore_backup
from batch_predictions.operations.backup.storage import (
    BackupError,
    FolderStorage,
    ObjectStorage,
    open_storage,
)
from batch_predictions.serving.lookup import Lookup
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.integrity import find_damaged
from batch_predictions_tests.core.test_relative_paths import OUTSIDE
from batch_predictions_tests.worlds.home_state import STATE
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world

KINDS: dict[str, Callable[[Path, Path], None]] = {
    "link": lambda path, target: path.symlink_to(target),
    "pipe": lambda path, _: os.mkfifo(path),
    "device": lambda path, _: path.symlink_to("/dev/zero"),
    "folder": lambda path, _: path.mkdir(),
}
"""What is no file, in place of one, by name."""


@pytest.fixture
def world(tmp_path: Path) -> ServingWorld:
    """A home with a release."""
    write_state(tmp_path / "home", STATE)
    world = open_world(tmp_path / "home")
    world.release()
    return world


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "backups")


@pytest.fixture
def pool(storage: FolderStorage) -> Pool:
    return Pool(storage)


@pytest.fixture
def object_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """A pool in an object store, whose objects are files."""
    local_store = pytest.importorskip("obstore.store", reason="obstore is missing").LocalStore
    monkeypatch.setattr(
        object_store,
        "open_object_store",
        lambda url: local_store(prefix=tmp_path / "objects", mkdir=True),
    )
    storage = open_storage("s3://bucket/backups")
    assert isinstance(storage, ObjectStorage)
    return Pool(storage)


def test_a_restored_home_gives_the_same_answers(
    world: ServingWorld, pool: Pool, tmp_path: Path
) -> None:
    with Lookup(world.settings) as up:
        before = up.recommendations("u1")
    (world.settings.home / "training_cache").mkdir()
    (world.settings.home / "training_cache" / "part.npy").write_text("made again")
    backup = create_backup(world.settings.home, pool, "a")
    restore_backup(backup, pool, tmp_path / "new")
    restored = Settings(home=tmp_path / "new")
    with Lookup(restored) as up:
        assert up.recommendations("u1") == before
    query = f"select * from predictions.recommendations where date = '{DAY}' order by all"
    assert Warehouse.of(restored).query(query) == world.warehouse.query(query)
    assert {file.path for file in backup.files} >= {"state.yaml", "serving.sqlite"}
    assert not any(file.path.endswith(("-wal", ".lock", "part.npy")) for file in backup.files)


def test_what_is_written_while_it_is_copied_is_whole(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "models" / "churn" / "decisions").mkdir(parents=True)
    (home / "models" / "churn" / "decisions" / "1.json").write_text("version 1")
    (home / "models" / "churn" / "versions").mkdir()
    (home / "models" / "churn" / "versions" / "1").write_text("model 1")
    add = create_module._add

    def write_beside(home: Path, path: str, *arguments: object) -> object:
        # A training ends after the decisions were copied, and its old version is removed.
        if path.endswith("versions/1"):
            (home / "models" / "churn" / "versions" / "2").write_text("model 2")
            (home / "models" / "churn" / "decisions" / "2.json").write_text("version 2")
        return add(home, path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(create_module, "_add", write_beside)
    names = {file.path.rpartition("churn/")[2] for file in create_backup(home, pool, "a").files}
    assert names >= {"decisions/1.json", "versions/1"}
    assert "decisions/2.json" not in names or "versions/2" in names


def test_a_partition_that_is_replaced_meanwhile_has_its_digest(
    world: ServingWorld, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = create_module._add

    def write_beside(home: Path, path: str, *arguments: object) -> object:
        if path.startswith("warehouse/predictions/recommendations/"):
            world.predict(tag="b")
        return add(home, path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(create_module, "_add", write_beside)
    backup = create_backup(world.settings.home, pool, "a")
    restore_backup(backup, pool, tmp_path / "new")
    restored = Warehouse.of(Settings(home=tmp_path / "new"))
    models = "select distinct model_version from predictions.recommendations"
    assert restored.query(models)["model_version"].to_pylist() == ["als-b"]
    assert find_damaged(restored) == find_damaged(restored, thorough=True) == []


def test_a_file_that_is_removed_meanwhile_is_left_out(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "state.yaml").write_text("kept")
    (home / "old.parquet").write_text("pruned")
    paths = create_module._paths

    def remove_after_listing(home: Path) -> list[str]:
        listed = list(paths(home))
        (home / "old.parquet").unlink(missing_ok=True)
        return listed

    monkeypatch.setattr(create_module, "_paths", remove_after_listing)
    assert [file.path for file in create_backup(home, pool, "a").files] == ["state.yaml"]


def test_an_sqlite_file_is_copied_at_one_moment(tmp_path: Path, pool: Pool) -> None:
    home = tmp_path / "home"
    home.mkdir()
    stop, written = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(home / "a.db", timeout=60)) as db:
            db.execute("pragma journal_mode = wal")
            db.execute("create table pairs (number integer, copy integer)")
            number = 0
            while not stop.is_set():
                with db:
                    db.execute("insert into pairs values (?, null)", (number,))
                    db.execute("update pairs set copy = number where number = ?", (number,))
                number += 1
                written.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(60)
        backup = create_backup(home, pool, "a")
    finally:
        stop.set()
        writer.join()
    restore_backup(backup, pool, tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "new" / "a.db")) as db:
        count, halves = db.execute(
            "select count(*), count(*) filter (where copy is null) from pairs"
        ).fetchone()
    assert count > 0 and halves == 0


def test_equal_files_are_kept_once_and_old_backups_removed(
    world: ServingWorld, pool: Pool, storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = world.settings.home
    first = create_backup(home, pool, "a")
    read: list[str] = []
    add = pool.add

    def record(source: BinaryIO) -> tuple[str, int]:
        read.append(source.name)
        return add(source)

    monkeypatch.setattr(pool, "add", record)
    second = create_backup(home, pool, "b")
    # SQLite changes its files without changing their times.
    assert {Path(name).name for name in map(str, read)} == {"copy"}
    assert {f.sha256 for f in second.files} == {f.sha256 for f in first.files}
    world.release(tag="b")
    third = create_backup(home, pool, "c")
    with pool.storage.locked():
        pool.remove_old(1)
    assert pool.names() == ["c"]
    objects = {path.name for path in storage.objects.rglob("*") if path.is_file()}
    assert objects == {file.sha256 for file in third.files}


def test_a_killed_backup_leaves_the_one_before(world: ServingWorld, pool: Pool) -> None:
    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == total // 2:
            raise KilledError

    create_backup(world.settings.home, pool, "a")
    world.release(tag="b")
    with pytest.raises(KilledError):
        create_backup(world.settings.home, pool, "b", kill)
    assert pool.names() == ["a"]
    assert pool.read().files == pool.read("a").files


@pytest.mark.parametrize("damage", ["changed", "missing", "longer", "shorter", *KINDS])
def test_damaged_bytes_are_refused_and_no_home_is_made(
    world: ServingWorld, pool: Pool, storage: FolderStorage, tmp_path: Path, damage: str
) -> None:
    backup = create_backup(world.settings.home, pool, "a")
    [state] = [file for file in backup.files if file.path == "state.yaml"]
    path = storage.object_path(state.sha256)
    content = path.read_bytes()
    if damage in KINDS:
        path.rename(tmp_path / "backups" / "away")
        KINDS[damage](path, tmp_path / "backups" / "away")
    elif damage == "missing":
        path.unlink()
    elif damage in ("longer", "shorter"):
        path.write_bytes(content + b" " if damage == "longer" else content[:-1])
    else:
        path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(BackupError, match=r"the bytes of state\.yaml are"):
        restore_backup(backup, pool, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "home"]


@pytest.mark.parametrize("path", [*OUTSIDE, "state.yaml/below"])
def test_a_path_that_leads_out_of_the_home_is_refused(
    world: ServingWorld, pool: Pool, storage: FolderStorage, tmp_path: Path, path: str
) -> None:
    create_backup(world.settings.home, pool, "a")
    listing = json.loads(storage.read_list("a"))
    copies = [{**file, "path": path} for file in listing["files"] if file["path"] == "state.yaml"]
    storage.write_list("a", json.dumps({**listing, "files": listing["files"] + copies}))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BackupError, match=r"a\.json of .* cannot be read"):
        restore_backup(pool.read("a"), pool, tmp_path / "new")
    result = CliRunner().invoke(
        make_app(), ["--home", str(tmp_path / "new"), "restore", str(storage.folder)]
    )
    assert result.exit_code == 1, result.output
    assert sorted(tmp_path.rglob("*")) == before


def test_a_home_that_is_not_empty_is_not_replaced(world: ServingWorld, pool: Pool) -> None:
    backup = create_backup(world.settings.home, pool, "a")
    with pytest.raises(BackupError, match="is not empty"):
        restore_backup(backup, pool, world.settings.home)


def test_one_backup_at_a_time(world: ServingWorld, pool: Pool) -> None:
    with pool.storage.locked(), pytest.raises(BackupError, match="under way"):
        create_backup(world.settings.home, pool, "a")


def test_backups_in_an_object_store(
    world: ServingWorld, object_pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, folder = world.settings.home, tmp_path / "objects" / "objects"
    with Lookup(world.settings) as up:
        before = up.recommendations("u1")
    create_backup(home, object_pool, "a")
    world.release(tag="b")
    second = create_backup(home, Pool(ObjectStorage("s3://bucket/backups")), "b")
    assert object_pool.names() == ["b", "a"]
    restore_backup(object_pool.read("a"), object_pool, tmp_path / "new")
    with Lookup(Settings(home=tmp_path / "new")) as up:
        assert up.recommendations("u1") == before
    # Bytes of a backup that is under way are not removed; those that are a day old are.
    count = len(list(folder.rglob("*/*")))
    object_pool.remove_old(1)
    assert object_pool.names() == ["b"] and len(list(folder.rglob("*/*"))) == count
    monkeypatch.setattr(storage_module, "REMOVED_AFTER", dt.timedelta(0))
    object_pool.remove_old(1)
    assert {p.name for p in folder.rglob("*/*")} == {file.sha256 for file in second.files}
    [state] = [file for file in second.files if file.path == "state.yaml"]
    (folder / state.sha256[:2] / state.sha256).unlink()
    with pytest.raises(BackupError, match=r"the bytes of state\.yaml are missing"):
        restore_backup(second, object_pool, tmp_path / "newer")


def test_locations_that_cannot_be_used() -> None:
    for location, problem in (
        ("ftp://host/x", "backups cannot be at a URL ftp"),
        ("s3://me:hidden@bucket/x", "user name"),
    ):
        with pytest.raises(BackupError, match=problem) as caught:
            open_storage(location)
        assert "hidden" not in str(caught.value)
    assert open_storage("file:///mnt/backups").location == "/mnt/backups"


def test_the_commands(world: ServingWorld, tmp_path: Path) -> None:
    runner, app = CliRunner(), make_app()
    home, folder = str(world.settings.home), str(tmp_path / "backups")
    made = runner.invoke(app, ["backup", folder, "--home", home])
    assert made.exit_code == 0 and "files" in made.output, made.output
    listed = runner.invoke(app, ["restore", folder, "--list", "--json"])
    assert home in listed.stdout
    new = str(tmp_path / "new")
    restored = runner.invoke(app, ["restore", folder, "--home", new])
    assert restored.exit_code == 0 and "is served" in restored.output, restored.output
    inside = runner.invoke(app, ["backup", f"{home}/backups", "--home", home])
    assert inside.exit_code != 0 and "is in the home" in str(inside.exception)
    unknown = runner.invoke(app, ["restore", folder, "--backup", "1999", "--home", f"{new}-2"])
    assert unknown.exit_code != 0 and "has no backup 1999" in str(unknown.exception)
