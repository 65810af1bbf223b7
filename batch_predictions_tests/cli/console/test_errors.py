"""How errors end a command: one line, and an exit code by their kind."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa

from batch_predictions.cli.console.errors import (
    BUSY,
    DAMAGED,
    FAILED,
    MACHINE,
    WRONG_SETTINGS,
    describe_error,
)
from batch_predictions.core.home import HomeError, read_state, state_path
from batch_predictions.core.home_lock import HomeBusyError
from batch_predictions.core.read_only import StoreError, StoreUnreachableError
from batch_predictions.models.model_store import ModelError
from batch_predictions.orchestration.job_runner import RunError
from batch_predictions.settings import SettingsError
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.posted_rows.reader import PostedRowsError, PostedRowsUnreachableError
from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.tables import INTERACTIONS


def raised(function: Callable[[], object]) -> Exception:
    """The error that a function raises."""
    with pytest.raises(Exception) as info:
        function()
    return info.value


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("setting a does not exist"), WRONG_SETTINGS),
        (HomeBusyError("home is in use by process 3"), BUSY),
        (HomeError("another source"), FAILED),
        (SourceError("interactions.csv cannot be read"), FAILED),
        (ModelError("no training"), FAILED),
        (StoreError("no such table"), FAILED),
        (StoreUnreachableError("the server does not answer"), MACHINE),
        (PostedRowsError("no such column"), FAILED),
        (PostedRowsUnreachableError("the server does not answer"), MACHINE),
    ],
)
def test_errors_of_the_platform_say_what_to_do(error: Exception, code: int) -> None:
    assert describe_error(error) == (str(error), code)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full (/home/x): free space"),
        (errno.EACCES, "/home/x cannot be written or read (Permission denied)"),
        (errno.EROFS, "/home/x cannot be written or read (Read-only file system)"),
        (errno.ENOTDIR, "/home/x is not what it should be (Not a directory)"),
    ],
)
def test_errors_of_the_machine_are_found_behind_others(number: int, words: str) -> None:
    cause = OSError(number, os.strerror(number), "/home/x")
    error = SourceError("cannot be read")
    error.__cause__ = cause
    for shown in (cause, error):
        ending = describe_error(shown)
        assert ending is not None
        assert ending.code == MACHINE
        assert words in ending.message


@pytest.mark.parametrize(
    "text",
    [
        "recommendations__load: IO Error: Could not write to x.parquet: No space left on device",
        "recommendations__score: OSError: [Errno 122] Disk quota exceeded",
        "raw__items: (sqlite3.OperationalError) database or disk is full",
        "models__demand: OSError: 1414 requested and 496 written",
    ],
)
def test_a_full_disk_is_found_in_the_text_of_a_failed_step(text: str) -> None:
    ending = describe_error(RunError(f"nightly for 2024-03-01 to 2024-03-01 failed: {text}"))
    assert ending is not None
    assert ending.code == MACHINE
    assert ending.message.startswith("the disk is full (nightly for 2024-03-01")


def test_damage_of_dagsters_records_is_not_said_of_the_serving_store(tmp_path: Path) -> None:
    from dagster._core.storage.runs import SqliteRunStorage

    (tmp_path / "runs.db").write_bytes(b"no database at all, but as long as one" * 100)
    ending = describe_error(raised(lambda: SqliteRunStorage.from_local(str(tmp_path))))
    assert ending is not None
    assert ending.code == DAMAGED
    assert "of the folder dagster/ of the home is damaged" in ending.message
    assert "serving" not in ending.message


def test_damaged_files_of_the_home_are_named(tmp_path: Path) -> None:
    state_path(tmp_path).write_text("first_day: [")
    log = tmp_path / "ingests" / "interactions.json"
    log.parent.mkdir()
    log.write_text("{")
    for path, read in (
        (state_path(tmp_path), lambda: read_state(tmp_path)),
        (log, lambda: read_ingest_log(tmp_path, INTERACTIONS)),
    ):
        ending = describe_error(raised(read))
        assert ending is not None
        assert ending.code == DAMAGED
        assert ending.message.startswith(f"{path} cannot be read")


def test_an_sqlite_store_that_is_damaged_or_locked(tmp_path: Path) -> None:
    path = tmp_path / "serving.sqlite"
    path.write_bytes(b"no database at all, but long enough to be read as one" * 20)
    damaged = describe_error(raised(lambda: sqlite3.connect(path).execute("select * from x")))
    assert damaged is not None
    assert damaged.code == DAMAGED
    assert "`batch-predictions doctor` names it" in damaged.message
    locked = sa.exc.OperationalError("s", None, sqlite3.OperationalError("database is locked"))
    ending = describe_error(locked)
    assert ending is not None
    assert ending.code == MACHINE
    assert "(database is locked)" in ending.message


def test_the_error_of_a_database_has_no_statement_and_no_parameters() -> None:
    cause = Exception("connection refused\nis the server running?")
    error = sa.exc.OperationalError("select secret", {"p": "secret"}, cause)
    ending = describe_error(error)
    assert ending is not None
    assert ending.message.startswith("the serving store (serving.url) cannot be used (connection")
    assert "secret" not in ending.message
    assert "\n" not in ending.message


def test_errors_of_duckdb_and_json_lead_to_the_doctor(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1 no")
    for error in (
        raised(lambda: duckdb.sql(f"from '{path}'")),
        raised(lambda: json.loads("{")),
    ):
        ending = describe_error(error)
        assert ending is not None
        assert ending.code == DAMAGED
        assert "`batch-predictions doctor`" in ending.message


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    assert describe_error(KeyError("x")) is None
    assert describe_error(AssertionError()) is None


def test_a_message_of_several_lines_becomes_one() -> None:
    ending = describe_error(SourceError("source.queries.x cannot be run: no\nThe query is: s"))
    assert ending is not None
    assert ending.message == "source.queries.x cannot be run: no The query is: s"
