"""Connections that share one DuckDB database of the process."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import duckdb
import pytest

from batch_predictions.warehouse import shared_database
from batch_predictions.warehouse.shared_database import open_cursor


def test_connections_of_equal_settings_share_a_database() -> None:
    with open_cursor({"threads": 1}) as first, open_cursor({"threads": 1}) as second:
        first.execute("create temp table numbers as select 7 as n")
        first.execute("create table memory.main.shared as select 8 as n")
        assert second.execute("from memory.main.shared").fetchall() == [(8,)]
        with pytest.raises(duckdb.CatalogException):
            second.execute("from numbers")
        second.execute("drop table memory.main.shared")


def test_a_connection_outlives_the_others_and_the_limit_of_databases() -> None:
    with open_cursor({"threads": 1}, version="old") as cursor:
        for version in range(shared_database.MAX_OPEN_DATABASES + 1):
            open_cursor({"threads": 1}, version=version).close()
        assert cursor.execute("select 7").fetchall() == [(7,)]
    assert len(shared_database._databases) == shared_database.MAX_OPEN_DATABASES


def test_another_version_of_an_attached_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "views.duckdb"

    def attach(db: duckdb.DuckDBPyConnection) -> None:
        db.execute(f"attach '{path}' as views (read_only)")

    for number in (1, 2):
        draft = tmp_path / "draft.duckdb"
        with duckdb.connect(str(draft)) as db:
            db.execute(f"create view main.answer as select {number} as n")
        draft.replace(path)
        with open_cursor(version=number, prepare=attach) as cursor:
            assert cursor.execute("from views.main.answer").fetchall() == [(number,)]


def test_a_database_that_refuses_queries_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class RefusingDatabase:
        def cursor(self) -> duckdb.DuckDBPyConnection:
            raise duckdb.FatalException("database has been invalidated")

    open_cursor(version="refused").close()
    key = next(reversed(shared_database._databases))
    monkeypatch.setitem(shared_database._databases, key, RefusingDatabase())
    with open_cursor(version="refused") as cursor:
        assert cursor.execute("select 7").fetchall() == [(7,)]


def _query_in_child() -> None:
    with open_cursor() as cursor:
        assert cursor.execute("select sum(n) from range(1_000_000) t(n)").fetchall()


def test_a_forked_process_opens_its_own_database() -> None:
    open_cursor().close()
    process = multiprocessing.get_context("fork").Process(target=_query_in_child)
    process.start()
    process.join(timeout=60)
    assert process.exitcode == 0


def test_times_are_in_utc() -> None:
    with open_cursor() as cursor:
        assert cursor.execute("select current_setting('timezone')").fetchall() == [("UTC",)]
