"""The home folder: fixed once, and worked in by one process at a time."""

from __future__ import annotations

import datetime as dt
import os
from functools import partial
from pathlib import Path
from typing import Literal

import dagster as dg
import pytest

from batch_predictions.core.home import (
    HomeError,
    State,
    read_state,
    read_state_copy,
    replace_state,
    restrict_new_files,
    state_path,
    write_state,
)
from batch_predictions.core.home_lock import home_lock
from batch_predictions.orchestration.instance import prepare
from batch_predictions.serving.store.store import Store
from batch_predictions.settings import Settings
from batch_predictions.tables import ITEM_STATE
from batch_predictions.warehouse import Warehouse, WarehouseError
from batch_predictions_tests.worlds.at_once import call_at_once


def state(kind: str = "files") -> State:
    return State(
        source_kind=kind,
        timezone="Europe/Berlin",
        first_day=dt.date(2024, 1, 1),
        last_day=dt.date(2024, 12, 31),
        default_date=dt.date(2024, 1, 7),
        shift_days=364,
    )


@pytest.mark.parametrize(
    ("file_mode", "others"), [("owner", 0o077), ("group_read", 0o027), ("group", 0o007)]
)
def test_new_folders_and_files_are_closed_to_others(
    tmp_path: Path, file_mode: Literal["owner", "group_read", "group"], others: int
) -> None:
    """Of all that writes into a home: text files, DuckDB, SQLite, Dagster."""
    umask = os.umask(0)
    try:
        restrict_new_files(file_mode)
        settings = Settings(home=tmp_path / "home")
        with home_lock(settings.home, "a test"):
            write_state(settings.home, state())
        no_rows = "select null::VARCHAR as user_id where false"
        with pytest.raises(WarehouseError):
            Warehouse.of(settings).replace_partition(ITEM_STATE, "2024-01-01", no_rows)
        Store.of(settings).close()
        with dg.DagsterInstance.from_config(str(prepare(settings))) as instance:
            assert instance.get_runs_count() == 0
    finally:
        os.umask(umask)
    paths = [settings.home, *settings.home.rglob("*")]
    names = {path.name for path in paths}
    assert {"serving.sqlite", "warehouse.duckdb", "runs.db", "state.yaml"} <= names
    assert [path for path in paths if path.stat().st_mode & others] == []
    owners_bits = [0o700 if path.is_dir() else 0o600 for path in paths]
    assert [path.stat().st_mode & 0o700 for path in paths] == owners_bits


def test_a_home_that_has_not_begun_has_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    assert read_state(tmp_path / "missing") is None


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert write_state(tmp_path / "new" / "home", state()) == state()
    assert read_state(tmp_path / "new" / "home") == state()


def test_the_state_is_written_once(tmp_path: Path) -> None:
    write_state(tmp_path, state("files"))
    assert write_state(tmp_path, state("movielens")) == state("files")
    assert read_state(tmp_path) == state("files")
    assert {path.name for path in tmp_path.iterdir()} == {"state.yaml", "warehouse"}
    assert read_state_copy(tmp_path) == state("files")


def test_of_concurrent_writers_the_first_wins_and_all_get_its_state(tmp_path: Path) -> None:
    for round_ in range(20):
        home = tmp_path / str(round_)
        states = call_at_once(partial(write_state, home), [state("files"), state("movielens")])
        assert states == [read_state(home)] * 2
        assert {path.name for path in home.iterdir()} == {"state.yaml", "warehouse"}
        assert read_state_copy(home) == read_state(home)


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    write_state(tmp_path, state())
    text = state_path(tmp_path).read_text(encoding="utf-8")
    newer = text.replace("schema_version: 1", "schema_version: 99")
    state_path(tmp_path).write_text(newer, encoding="utf-8")
    with pytest.raises(HomeError, match=r"schema version 99.*this program has 1.*--home"):
        read_state(tmp_path)


@pytest.mark.parametrize("text", ["", "first_day: [", "source_kind: files\n", "\x00\x01"])
def test_an_unreadable_state_is_named_with_the_remedy(tmp_path: Path, text: str) -> None:
    state_path(tmp_path).write_text(text, encoding="utf-8")
    with pytest.raises(HomeError, match=r"state\.yaml cannot be read .*: remove it, and the next"):
        read_state(tmp_path)


def test_a_replaced_state_is_in_the_copy_too(tmp_path: Path) -> None:
    write_state(tmp_path, state())
    replace_state(tmp_path, state("movielens"))
    assert read_state(tmp_path) == read_state_copy(tmp_path) == state("movielens")
