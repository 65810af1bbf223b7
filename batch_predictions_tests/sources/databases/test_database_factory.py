"""Connections: passwords stay hidden, broken ones are retried, timeouts and missing drivers."""

from __future__ import annotations

import datetime as dt
import importlib.util
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from batch_predictions.cli.command_line import make_app
from batch_predictions.settings import Settings, SettingsError, SourceSettings, as_yaml
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.databases import database_factory
from batch_predictions.sources.databases.connection import DatabaseConnection, DatabaseUrl
from batch_predictions.sources.source_registry import build_source
from batch_predictions.tables import INTERACTIONS
from batch_predictions_tests.worlds.postgres import empty_postgres
from batch_predictions_tests.worlds.source_database import DRIVERS, SourceDatabase
from batch_predictions_tests.worlds.source_folders import total_counts

PASSWORD = "s3cret/ü%"
TODAY = dt.date(2024, 1, 20)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before further tries, which take no time."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


def orders(tmp_path: Path, url: str | None = None, **options: Any) -> SourceDatabase:
    """A database with two order lines."""
    shop = SourceDatabase(tmp_path, url, **options)
    shop.create(user_id="text", item_id="text", at="timestamptz" if shop.is_postgres else "")
    row = {"user_id": "u", "item_id": "i", "at": "2024-01-02 10:00:00+00:00"}
    shop.change(columns={"interactions": {"occurred_at": "at"}})
    return shop.insert([row, {**row, "item_id": "j"}])


def user_with_password(url: str, password: str = PASSWORD) -> str:
    """The URL of a new user of a PostgreSQL database, who may read everything."""
    engine = sa.create_engine(url)
    with engine.begin() as db:
        db.exec_driver_sql("drop role if exists reader")
        quoted = password.replace("%", "%%")
        db.exec_driver_sql(f"create role reader login password '{quoted}' in role pg_read_all_data")
    engine.dispose()
    with_user = sa.make_url(url).set(username="reader", password=password)
    return with_user.render_as_string(hide_password=False)


def assert_hidden(text: str) -> None:
    """No form of the password is in a text."""
    for secret in (PASSWORD, "s3cret", "%C3%BC"):
        assert secret not in text, text


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_password_is_shown_nowhere(
    tmp_path: Path, driver: str, caplog: pytest.LogCaptureFixture, pauses: list[float]
) -> None:
    caplog.set_level(logging.DEBUG)
    server = empty_postgres()
    shop = orders(tmp_path, server, driver=driver)
    shop.change(url=user_with_password(server))
    assert total_counts(shop.ingest()) == (2, 2, 0)
    report = check_source(shop.settings, today=TODAY)
    assert report.ok and report.path and report.path.startswith("postgresql://127.0.0.1:")
    texts = [str(report), repr(report), repr(shop.settings), repr(shop.settings.source.url)]
    texts += [shop.settings.model_dump_json(), repr(DatabaseUrl.parse(shop.url))]
    wrong = user_with_password(server).replace("s3cret", "s3cret-wrong")
    for options in (
        {"url": wrong},
        {"url": wrong.replace("127.0.0.1:", "127.0.0.1:1")},
        {"url": user_with_password(server), "tables": {"interactions": "nope"}},
        {"url": user_with_password(server), "where": {"interactions": "nope > 1"}},
    ):
        shop.change(**options)
        with pytest.raises(SourceError) as caught:
            shop.ingest()
        error: BaseException | None = caught.value
        while error is not None:
            texts += [str(error), repr(error), repr(error.args)]
            error = error.__cause__ or error.__context__
    for path in shop.settings.home.rglob("*.json"):
        texts.append(path.read_text())
    for text in [*texts, caplog.text]:
        assert_hidden(text)


def test_the_url_comes_from_the_environment_and_is_in_no_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = orders(tmp_path)
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__URL", shop.url)
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__TABLES", '{"interactions": "order_lines"}')
    runner = CliRunner()
    result = runner.invoke(make_app(), ["init", "--source", "sql"])
    assert result.exit_code == 0
    assert "BATCH_PREDICTIONS_SOURCE__URL" in result.stderr
    written = Path("batch_predictions.yaml").read_text()
    assert "kind: sql" in written and shop.url not in written and as_yaml()
    result = runner.invoke(make_app(), ["init", "--source", "sql", "--check", "--force"])
    assert result.exit_code == 0, result.output
    assert shop.url not in Path("batch_predictions.yaml").read_text()
    result = runner.invoke(make_app(), ["check-source", "--home", str(tmp_path / "home")])
    assert result.exit_code == 0, result.output
    assert "source      sql in sqlite:///" in result.output
    for line in ("interactions   order_lines", "2 accepted", "item_id <- item_id"):
        assert line in result.output


def test_the_error_of_a_wrong_url_does_not_quote_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (f"reader:{PASSWORD}@host/database", "postgresql//x:s3cret@h", "://s3cret"):
        with pytest.raises(SourceError, match=r"source\.url is not a URL") as caught:
            DatabaseUrl.parse(url)
        assert_hidden(f"{caught.value!r} {caught.value.__cause__} {caught.value.__context__}")
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__URL", '{"password": "s3cret"}')
    try:
        Settings.load()
    except SettingsError as error:
        assert_hidden(str(error))
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE", '"postgresql://x:s3cret@h/db"')
    monkeypatch.delenv("BATCH_PREDICTIONS_SOURCE__URL")
    with pytest.raises(SettingsError) as unreadable:
        Settings.load()
    assert_hidden(str(unreadable.value))


def test_secret_options_are_hidden() -> None:
    url = DatabaseUrl.parse("snowflake://u:pa%2Fss@account/db?token=abc123&role=reader")
    text = url.hide_secrets("failed: pa/ss, pa%2Fss, abc123, reader")
    assert text == "failed: ***, ***, ***, reader"
    # A short password is not replaced within words, from whose gaps it could be read.
    short = DatabaseUrl.parse("postgresql://u:p@host/db")
    assert short.hide_secrets("postgresql://u:p@host: port") == "postgresql://u:***@host: port"
    assert url.location == "snowflake://account/db"


@pytest.mark.slow
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_broken_connection_is_tried_again(
    tmp_path: Path, driver: str, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    server = empty_postgres()
    shop = orders(tmp_path, server, driver=driver)
    shop.execute(
        "insert into order_lines select 'v', repeat('i', 90) || n, "
        "timestamptz '2024-01-03 00:00+00' from generate_series(1, 400000) n"
    )
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    connect = database_factory.choose_connection(DatabaseUrl.parse(server), shop.settings.source)
    broken: list[int] = []

    def batches(connection: DatabaseConnection, sql: str, limit: int | None = None) -> Any:
        for batch in original(connection, sql, limit):  # type: ignore[arg-type]
            yield batch
            if len(broken) < 2:
                broken.append(batch.num_rows)
                with admin.connect() as db:
                    # The server ends the connection while rows are read.
                    db.exec_driver_sql(
                        "select pg_terminate_backend(pid) from pg_stat_activity where "
                        "application_name = 'batch_predictions'"
                    )

    original = connect.batches
    monkeypatch.setattr(connect, "batches", batches)
    assert total_counts(shop.ingest()) == (400_002, 400_002, 0)
    assert len(broken) == 2 and all(number > 0 for number in broken)
    assert len(pauses) == 2 and 0.5 <= pauses[0] <= 1 <= pauses[1] <= 2
    broken.clear()
    shop.change(retries=1)
    with pytest.raises(SourceError, match="check that the database runs and can be reached"):
        shop.ingest()
    admin.dispose()


def test_a_refused_password_is_not_tried_again(tmp_path: Path, pauses: list[float]) -> None:
    server = empty_postgres()
    shop = orders(tmp_path, server)
    wrong = sa.make_url(server).set(password="wrong").render_as_string(hide_password=False)
    with pytest.raises(SourceError, match="password authentication failed"):
        shop.change(url=wrong).ingest()
    assert not pauses


def test_a_server_that_is_down_is_tried_again(tmp_path: Path, pauses: list[float]) -> None:
    pytest.importorskip("adbc_driver_postgresql")
    settings = SourceSettings.model_validate(
        {
            "kind": "sql",
            "url": "postgresql://u:p@127.0.0.1:1/db",
            "tables": {"interactions": "t"},
            "retries": 2,
        }
    )
    with pytest.raises(
        SourceError, match=r"reading the columns of t in postgresql://127\.0\.0\.1:1/db"
    ):
        build_source(settings, None).span(TODAY)
    assert len(pauses) == 2


@pytest.mark.slow
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_error_of_a_slow_query_names_the_setting(tmp_path: Path, driver: str) -> None:
    shop = orders(tmp_path, empty_postgres(), driver=driver, statement_timeout_seconds=1)
    shop.change(
        tables={},
        queries={"interactions": "select user_id, item_id, at from order_lines, pg_sleep(3)"},
    )
    with pytest.raises(SourceError, match=r"longer than source\.statement_timeout_seconds \(1 s"):
        shop.ingest()


@pytest.mark.parametrize("driver", DRIVERS)
def test_names_cannot_inject_sql(tmp_path: Path, database_url: str | None, driver: str) -> None:
    shop = orders(tmp_path, database_url, driver=driver)
    for name in ("order_lines; drop table order_lines", "order_lines where 1=1", "(select 1)"):
        with pytest.raises(SourceError, match=r"is not the name of a table"):
            shop.change(tables={"interactions": name}).ingest()
    shop.change(tables={"interactions": "order_lines"})
    evil = 'at" from order_lines; drop table order_lines; --'
    with pytest.raises(SourceError, match="has no column"):
        shop.change(columns={"interactions": {"occurred_at": evil}}).ingest()
    # Columns and tables may have any name.
    quoted = evil.replace('"', '""')
    shop.execute(f'alter table order_lines rename column at to "{quoted}"'.replace("%", "%%"))
    shop.execute('alter table order_lines rename to "order ""lines"": \'1\'"')
    shop.change(
        tables={"interactions": '"order ""lines"": \'1\'"'},
        columns={"interactions": {"occurred_at": evil}},
        updated_at={"interactions": evil},
    )
    assert total_counts(shop.ingest()) == (2, 2, 0)
    assert shop.source.day_range(INTERACTIONS) == (dt.date(2024, 1, 2),) * 2
    assert shop.due("2024-01-10") == []


def test_a_query_cannot_write(tmp_path: Path) -> None:
    shop = orders(tmp_path, empty_postgres())
    shop.change(
        tables={},
        queries={
            "interactions": "with d as (delete from order_lines returning *) select * from d",
        },
    )
    with pytest.raises(SourceError):
        shop.ingest()
    shop.change(queries={}, tables={"interactions": "order_lines"})
    assert total_counts(shop.ingest()) == (2, 2, 0)


@pytest.mark.parametrize("driver", DRIVERS)
def test_reads_of_one_connection_see_one_snapshot(
    tmp_path: Path, database_url: str | None, driver: str
) -> None:
    if database_url is None and driver == "adbc":
        pytest.skip("two copies of SQLite in one process do not see each other's locks")
    shop = orders(tmp_path, database_url, driver=driver)
    if database_url is None:
        shop.execute("pragma journal_mode = wal")

    def read(connection: DatabaseConnection) -> list[list[tuple[Any, ...]]]:
        counts = [connection.rows("select count(*) from order_lines")]
        writer = threading.Thread(
            target=shop.insert, args=[[{"user_id": "w", "item_id": "i", "at": None}]]
        )
        writer.start()
        writer.join()
        return [*counts, connection.rows("select count(*) from order_lines")]

    database = DatabaseUrl.parse(shop.url)
    counts = database_factory.read_database(database, shop.settings.source, "counting", read)
    assert counts == [[(2,)], [(2,)]]
    with shop.engine.connect() as db:
        assert db.exec_driver_sql("select count(*) from order_lines").scalar_one() == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "postgresql://h/d"}, r"pip install 'batch-predictions\[sql\]'"),
        ({"url": "snowflake://u:p@account/db"}, r"pip install 'batch-predictions\[snowflake\]'"),
        ({"url": "bigquery://project/shop"}, r"pip install 'batch-predictions\[bigquery\]'"),
        ({"url": "mysql://h/d"}, r"pip install pymysql, and name it in source.url"),
        ({"url": "unknown://h/d"}, r"a driver for SQLAlchemy is needed"),
        ({"url": "mysql://h/d", "driver": "adbc"}, r"source.driver is adbc, which does not read"),
        ({"url": "sqlite:////nowhere/x.db", "driver": "sqlalchemy"}, "which does not exist"),
    ],
)
def test_a_missing_driver_or_file_is_named(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str], message: str
) -> None:
    find_spec = importlib.util.find_spec

    def without_adbc(name: str, package: str | None = None) -> Any:
        return None if name.startswith("adbc") else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_adbc)
    settings = SourceSettings.model_validate(
        {"kind": "sql", "tables": {"interactions": "t"}, **options}
    )
    with pytest.raises(SourceError, match=message):
        build_source(settings, None).span(TODAY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": None}, "BATCH_PREDICTIONS_SOURCE__URL"),
        ({"tables": {"items": "t"}}, "at least interactions or reviews"),
        ({"tables": {"orders": "t"}}, r"source\.tables\.orders: there is no raw table orders"),
        ({"queries": {"interactions": "select 1"}}, "are both set: remove one of them"),
        ({"where": {"users": "x"}}, r"source\.where\.users is set, but neither"),
        ({"updated_at": {"users": "x"}}, r"source\.updated_at\.users is set, but neither"),
        ({"columns": {"interactions": {"nope": "x"}}}, "there is no column of raw.interactions"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    shop = orders(tmp_path)
    with pytest.raises(SourceError, match=message):
        shop.change(**options).source.tables()


def test_check_source_reports_a_database(tmp_path: Path) -> None:
    shop = orders(tmp_path).execute("alter table order_lines add column colour text")
    shop.insert([{"user_id": None, "item_id": "i", "at": "2024-01-05"}])
    report = check_source(shop.settings, today=TODAY)
    [table] = report.tables
    assert (table.files, table.rows_seen, table.accepted) == (["order_lines"], 3, 2)
    assert table.unused_columns == ["colour"]
    assert table.columns["occurred_at"] == "at"
    assert (table.first_day, table.newest_day) == (dt.date(2024, 1, 2), dt.date(2024, 1, 5))
    assert report.newest_complete_day == dt.date(2024, 1, 5)
    assert not shop.settings.home.exists()
    missing = check_source(shop.change(columns={}).settings, today=TODAY)
    assert missing.ok  # without a time, rows belong to the default date
