"""Lookups only read: they need no write access to the store's folder, and create no file."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from batch_predictions.cli.command_line import make_app
from batch_predictions.core.read_only import StoreError
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.store.snapshot import ReadStore, ServedRelease
from batch_predictions.serving.store.store import CURRENT, store_url
from batch_predictions.settings import Settings
from batch_predictions_tests.worlds.postgres import empty_postgres
from batch_predictions_tests.worlds.restricted import (
    as_another_user,
    command_on_full_disk,
    command_on_read_only_mount,
    open_folder,
)
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world

NEXT = DAY + dt.timedelta(days=1)
COMMANDS = [
    ["lookup", "recommendations", "u1", "--json"],
    ["lookup", "recommendations", "nobody", "--gender", "F", "--json"],
    ["lookup", "table", "--json"],
    ["lookup", "table", "recommendations", "user_id=u1", "--json"],
    ["releases", "list", "--json"],
]


@pytest.fixture
def shop() -> Iterator[ServingWorld]:
    """A home with a release, which other users may read."""
    with open_folder() as folder:
        world = open_world(folder / "home")
        world.release(tag="a")
        world.store.close()
        yield world


def list_files(folder: Path) -> dict[str, bytes]:
    """Content of every file of a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def beside(settings: Settings, suffix: str) -> Path:
    return settings.home / f"serving.sqlite{suffix}"


def model_version(settings: Settings) -> str:
    """The model of a personal list."""
    with Lookup(settings) as lookup:
        version: str = lookup.recommendations("u1")["model_version"]
    return version


def invoke(settings: Settings, arguments: list[str]) -> tuple[int, str]:
    result = CliRunner().invoke(make_app(), ["--home", str(settings.home), *arguments])
    return result.exit_code, result.output if result.exception is None else repr(result.exception)


def invoke_all(settings: Settings) -> list[tuple[int, str]]:
    return [invoke(settings, arguments) for arguments in COMMANDS]


def test_a_published_store_is_left_with_an_empty_log(shop: ServingWorld) -> None:
    assert beside(shop.settings, "-wal").stat().st_size == 0
    assert beside(shop.settings, "-shm").exists()


def test_a_user_who_may_only_read_looks_up(shop: ServingWorld) -> None:
    expected = invoke_all(shop.settings)
    before = list_files(shop.settings.home)
    assert [code for code, _ in expected] == [0] * len(COMMANDS), expected
    assert as_another_user(invoke_all, shop.settings) == expected
    assert list_files(shop.settings.home) == before


def test_a_user_who_may_only_read_sees_what_is_published_meanwhile(shop: ServingWorld) -> None:
    """The publisher holds the store open; its newest release is in the log alone."""
    open_shop = open_world(shop.settings.home)
    open_shop.release(NEXT, tag="b")
    assert beside(shop.settings, "-wal").stat().st_size > 0
    assert as_another_user(model_version, shop.settings) == "als-b"
    open_shop.store.close()
    assert as_another_user(model_version, shop.settings) == "als-b"


def test_what_a_killed_publisher_left_in_the_log_is_read(shop: ServingWorld) -> None:
    if os.fork() == 0:
        open_world(shop.settings.home).release(NEXT, tag="b")
        os._exit(0)  # closes nothing, as a kill
    os.wait()
    assert beside(shop.settings, "-wal").stat().st_size > 0
    assert as_another_user(model_version, shop.settings) == "als-b"


def test_a_user_who_may_not_read_is_told_what_is_needed(shop: ServingWorld) -> None:
    for suffix in ("", "-wal", "-shm"):
        beside(shop.settings, suffix).chmod(0o600)
    with pytest.raises(StoreError, match=r"serving.sqlite cannot be read .* let the user 65534"):
        as_another_user(model_version, shop.settings)
    shop.settings.home.chmod(0o700)
    with pytest.raises(StoreError, match=r"cannot be read \(Permission denied\)"):
        as_another_user(model_version, shop.settings)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_read_only_mount_is_enough(shop: ServingWorld, arguments: list[str]) -> None:
    home = shop.settings.home
    process = command_on_read_only_mount(home, "--home", str(home), *arguments)
    assert process.returncode == 0, process.stderr
    assert process.stdout == invoke(shop.settings, arguments)[1]


@pytest.mark.slow
@pytest.mark.parametrize("suffixes", [("",), ("", "-wal"), ("", "-wal", "-shm")])
def test_a_copy_on_a_read_only_mount_is_enough(
    shop: ServingWorld, tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    copy = Settings(home=tmp_path / "copy")
    copy.home.mkdir()
    for suffix in suffixes:
        shutil.copy(beside(shop.settings, suffix), copy.home)
    process = command_on_read_only_mount(copy.home, "--home", str(copy.home), *COMMANDS[0])
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["model_version"] == "als-a"


def test_a_copy_that_lacks_its_shared_memory_is_not_read_in_part(
    shop: ServingWorld, tmp_path: Path
) -> None:
    open_shop = open_world(shop.settings.home)
    open_shop.release(NEXT, tag="b")
    for suffix in ("", "-wal"):
        shutil.copy(beside(shop.settings, suffix), tmp_path)
    open_shop.store.close()
    process = command_on_read_only_mount(tmp_path, "--home", str(tmp_path), *COMMANDS[0])
    assert process.returncode == 1
    assert "serving.sqlite-shm is missing" in process.stderr
    assert len(process.stderr.splitlines()) == 1
    # Its owner may complete the copy, and reads all of it.
    assert model_version(Settings(home=tmp_path)) == "als-b"


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal", "-shm")])
def test_a_full_disk_is_enough(
    shop: ServingWorld, tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    origin, full = tmp_path / "origin", tmp_path / "full"
    for folder in (origin, full):
        folder.mkdir()
    for suffix in suffixes:
        shutil.copy(beside(shop.settings, suffix), origin)
    if "-shm" in suffixes:
        # As SQLite leaves it when it could not extend it.
        os.truncate(origin / "serving.sqlite-shm", 3)
    process = command_on_full_disk(full, origin, "512k", "--home", str(full), *COMMANDS[0])
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["model_version"] == "als-a"


def test_lookups_create_no_file(shop: ServingWorld, tmp_path: Path) -> None:
    """Neither where the store is in use nor in a copy of its file alone, and not without one."""
    before = list_files(shop.settings.home)
    invoke_all(shop.settings)
    after = list_files(shop.settings.home)
    # In the shared memory, SQLite notes which state a reader is reading.
    shm = "serving.sqlite-shm"
    assert {**after, shm: b""} == {**before, shm: b""}
    copy = Settings(home=tmp_path / "copy")
    copy.home.mkdir()
    shutil.copy(beside(shop.settings, ""), copy.home)
    before = list_files(copy.home)
    assert [code for code, _ in invoke_all(copy)] == [0] * len(COMMANDS)
    assert list_files(copy.home) == before
    beside(copy, "").unlink()
    invoke_all(copy)
    assert list_files(copy.home) == {}


def test_a_copy_that_is_published_to_later_is_opened_anew(
    shop: ServingWorld, tmp_path: Path
) -> None:
    copy = Settings(home=tmp_path / "copy")
    copy.home.mkdir()
    shutil.copy(beside(shop.settings, ""), copy.home)
    with Lookup(copy) as lookup:
        assert lookup.recommendations("u1")["model_version"] == "als-a"
        world = open_world(copy.home)
        world.release(NEXT, tag="b")
        assert lookup.recommendations("u1")["model_version"] == "als-b"
        world.store.close()
        world.release(NEXT + dt.timedelta(days=1), tag="c")
        assert lookup.recommendations("u1")["model_version"] == "als-c"
        world.store.close()


def test_an_answer_is_not_of_a_file_that_was_written_meanwhile(
    shop: ServingWorld, tmp_path: Path
) -> None:
    """A copy is read as immutable, without locks: what is read of two states is read again."""
    copy = Settings(home=tmp_path / "copy")
    copy.home.mkdir()
    shutil.copy(beside(shop.settings, ""), copy.home)
    seen: list[str] = []

    def read_while_published(db: sa.Connection, served: ServedRelease) -> tuple[str, Any]:
        seen.append(served.release_id)
        if len(seen) == 1:
            world = open_world(copy.home)
            world.release(NEXT, tag="b")
            world.store.close()
        return served.release_id, db.execute(sa.select(CURRENT.c.release_id)).scalar()

    with ReadStore(store_url(copy)) as store:
        first, second = store.read(read_while_published)
    assert first == second == seen[-1] != seen[0]
    assert len(seen) == 2


def test_a_reader_cannot_write(shop: ServingWorld) -> None:
    with (
        ReadStore(store_url(shop.settings)) as store,
        store.snapshot() as (db, _),
        pytest.raises(sa.exc.OperationalError, match="readonly"),
    ):
        db.execute(sa.delete(CURRENT))


def test_a_file_that_is_no_database_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "serving.sqlite").write_bytes(b"not a database" * 100)
    with Lookup(Settings(home=tmp_path)) as lookup, pytest.raises(StoreError, match="damaged"):
        lookup.recommendations("u1")


def test_a_writer_finds_the_log_of_a_reader(shop: ServingWorld) -> None:
    """A reader that closes last does not remove the log, and a writer starts from it."""
    with sqlite3.connect(beside(shop.settings, "")) as writer, Lookup(shop.settings) as lookup:
        assert lookup.recommendations("u1")["model_version"] == "als-a"
        writer.execute("create table more (x)")
    writer.close()
    world = open_world(shop.settings.home)
    world.release(NEXT, tag="b")
    world.store.close()
    assert model_version(shop.settings) == "als-b"


def test_a_postgres_role_that_may_only_select_is_enough(tmp_path: Path) -> None:
    url = sa.make_url(empty_postgres())
    world = open_world(tmp_path / "home", url.render_as_string(hide_password=False))
    world.release(tag="a")
    with world.store.write() as db:
        db.exec_driver_sql("drop role if exists application")
        db.exec_driver_sql("create role application login password 'application'")
        db.exec_driver_sql("grant select on all tables in schema public to application")
    application = url.set(username="application", password="application")
    try:
        with ReadStore(application.render_as_string(hide_password=False)) as store:
            assert store.read(lambda _, served: served.as_of) == DAY
            with store.snapshot() as (db, _), pytest.raises(sa.exc.DBAPIError, match="read-only"):
                db.execute(sa.delete(CURRENT))
    finally:
        with world.store.write() as db:
            db.exec_driver_sql("drop owned by application")
            db.exec_driver_sql("drop role application")
        world.store.close()


def test_threads_read_at_the_same_time_and_a_closed_store_has_no_open_file(
    shop: ServingWorld,
) -> None:
    file = beside(shop.settings, "").resolve()

    def open_files() -> int:
        links = list(Path("/proc/self/fd").iterdir())
        return sum(link.resolve() == file for link in links)

    before = open_files()
    store = ReadStore(store_url(shop.settings))
    together = threading.Barrier(4)

    def read(wait: bool) -> str:
        def query(_: Any, served: ServedRelease) -> str:
            if wait:
                together.wait(60)
            return served.release_id

        return store.read_rows(query)

    first = read(False)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(read, [True] * 4)) == {first}
    shop.release(NEXT, tag="b")
    shop.store.close()
    assert read(False) > first
    assert open_files() > before
    store.close()
    assert open_files() == before
