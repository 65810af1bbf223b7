"""Sinks get the release that is served: every row, once, whole, and again after a failure."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from batch_predictions.core.erasures import ErasedKeys
from batch_predictions.core.object_store import ObjectFolder
from batch_predictions.serving.erasure.store_erasure import erase_users
from batch_predictions.serving.release.release_records import rollback
from batch_predictions.serving.sinks import sql_sink
from batch_predictions.serving.sinks.delta_sink import DeltaSink
from batch_predictions.serving.sinks.sink_tables import SinkError, SinkTable
from batch_predictions.serving.sinks.sync import (
    erase_from_sinks,
    open_sinks,
    outdated_sinks,
    sync_sinks,
)
from batch_predictions.settings import Settings, SettingsError, SinkSettings, SourceSettings
from batch_predictions.sources.databases.adbc import ADBC_DRIVERS
from batch_predictions.tables import TABLES, Table, columns
from batch_predictions_tests.worlds.bucket import bucket_server
from batch_predictions_tests.worlds.bytes_of_home import files_with, tables_with
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.postgres import empty_postgres
from batch_predictions_tests.worlds.serving import DAY, open_world

USER, REVIEW = "customer-77fae1", "r-77fae1"
NEXT = DAY + dt.timedelta(days=1)
OFFERS = Table(
    "predictions",
    "offers",
    "Offers.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: user
        offer_item_ids VARCHAR[]: offers
        review_id VARCHAR: review
        example_review_ids VARCHAR[]: reviews
        model_version VARCHAR: model
    """),
    key=("user_id",),
)


class SinkWorld:
    """A home with releases and one sink, which is read as another team reads it."""

    def __init__(self, home: Path, url: str) -> None:
        self.url = url
        self.shop = open_world(home)
        self.use()

    def use(self, **options: Any) -> None:
        """Sets the options of the sink."""
        sink = SinkSettings.model_validate({"url": self.url, **options})
        self.settings: Settings = self.shop.settings.model_copy(update={"sinks": [sink]})

    def release(self, day: dt.date = DAY, tag: str = "a") -> str:
        """Releases a day with offers, and writes it into the sink."""
        self.shop.predict(day, tag)
        self.shop.warehouse.replace_partition(
            OFFERS,
            day.isoformat(),
            "select 'u0' as user_id, ['x', $tag] as offer_item_ids, null as review_id, "
            "['r1', 'r-77fae1', 'r2'] as example_review_ids, 'm' as model_version "
            "union all select 'u1', null, 'r1', null, 'm' "
            "union all select 'u2', [], 'r2', [], 'm' "
            "union all select 'customer-77fae1', ['x'], 'r-77fae1', null, 'm'",
            {"tag": tag},
        )
        release_id = self.shop.publish(day, OFFERS).release_id
        [result] = sync_sinks(self.settings)
        assert (result.release_id, result.is_new, result.error) == (release_id, True, None)
        return release_id

    def current(self, name: str, select: str) -> list[tuple[Any, ...]]:
        """Rows of a table of the release that is served."""
        raise NotImplementedError

    def stored(self, name: str, select: str) -> list[tuple[Any, ...]]:
        """Rows of a table of all releases."""
        raise NotImplementedError


class PostgresWorld(SinkWorld):
    def current(self, name: str, select: str) -> list[tuple[Any, ...]]:
        return self.query(f"select {select} from batch_predictions.current_{name}")

    def stored(self, name: str, select: str) -> list[tuple[Any, ...]]:
        return self.query(f"select {select} from batch_predictions.{name}")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        engine = sa.create_engine(self.url)
        with engine.connect() as db:
            found = [tuple(row) for row in db.execute(sa.text(sql))]
        engine.dispose()
        return sorted(found, key=repr)


class DeltaWorld(SinkWorld):
    def current(self, name: str, select: str) -> list[tuple[Any, ...]]:
        releases = self.read("releases")
        newest = "number = (select max(number) from rows)"
        versions = duckdb.execute(
            f"with rows as (from releases) select table_name, version from rows where {newest}"
        ).fetchall()
        assert releases.num_rows
        return self.select(self.read(name, dict(versions)[name]), select)

    def stored(self, name: str, select: str) -> list[tuple[Any, ...]]:
        return self.select(self.read(name), select)

    def read(self, name: str, version: int | None = None) -> pa.Table:
        from deltalake import DeltaTable

        return DeltaTable(f"{self.url}/{name}", version=version).to_pyarrow_table()

    def select(self, rows: pa.Table, select: str) -> list[tuple[Any, ...]]:
        assert rows.num_columns
        return sorted(duckdb.execute(f"select {select} from rows").fetchall(), key=repr)


class ParquetWorld(SinkWorld):
    def use(self, **options: Any) -> None:
        super().use(**{"format": "parquet", **options})

    def current(self, name: str, select: str) -> list[tuple[Any, ...]]:
        files = json.loads((Path(self.url) / "current.json").read_text())["tables"][name]
        return self.read([f"{self.url}/{file}" for file in files], select)

    def stored(self, name: str, select: str) -> list[tuple[Any, ...]]:
        return self.read([f"{self.url}/{name}/**/*.parquet"], select)

    def read(self, files: list[str], select: str) -> list[tuple[Any, ...]]:
        query = f"select {select} from read_parquet($files, hive_partitioning = true)"
        return sorted(duckdb.execute(query, {"files": files}).fetchall(), key=repr)


class SnowflakeWorld(SinkWorld):
    """Snowflake, or a server that answers as it does: see .ci/with-snowflake."""

    def __init__(self, home: Path, url: str) -> None:
        self.schema = f"sink_{uuid.uuid4().hex}"
        super().__init__(home, url)

    def use(self, **options: Any) -> None:
        super().use(**{"database_schema": self.schema, **options})

    def current(self, name: str, select: str) -> list[tuple[Any, ...]]:
        return self.query(f"select {select} from {self.schema}.current_{name}")

    def stored(self, name: str, select: str) -> list[tuple[Any, ...]]:
        return self.query(f"select {select} from {self.schema}.{name}")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        from adbc_driver_snowflake.dbapi import connect

        arguments = ADBC_DRIVERS["snowflake"].arguments(sa.make_url(self.url), SourceSettings())
        with connect(**arguments) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return sorted((tuple(map(_plain, row)) for row in cursor.fetchall()), key=repr)


def _plain(value: Any) -> Any:
    """A value of Snowflake, whose integers are decimals and whose arrays are JSON."""
    if isinstance(value, Decimal):
        return int(value)
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value


@pytest.fixture(
    params=[
        "delta",
        "parquet",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("snowflake", marks=pytest.mark.slow),
    ]
)
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SinkWorld]:
    """A home whose sink is of either kind."""
    monkeypatch.setitem(TABLES, OFFERS.qualified, OFFERS)
    opened: SinkWorld
    if request.param in ("delta", "parquet"):
        pytest.importorskip("deltalake", reason="pip install -e '.[lakehouse]'")
        kind = {"delta": DeltaWorld, "parquet": ParquetWorld}[request.param]
        opened = kind(tmp_path / "home", str(tmp_path / "lake"))
    elif request.param == "snowflake":
        pytest.importorskip("adbc_driver_snowflake", reason="pip install -e '.[snowflake]'")
        url = os.environ.get("BATCH_PREDICTIONS_TEST_SNOWFLAKE")
        if not url:
            pytest.skip("no Snowflake: .ci/with-snowflake starts a server that answers as it does")
        opened = SnowflakeWorld(tmp_path / "home", url)
    else:
        pytest.importorskip("adbc_driver_postgresql", reason="pip install -e '.[sql]'")
        opened = PostgresWorld(tmp_path / "home", empty_postgres())
    yield opened
    opened.shop.store.close()


def test_a_sink_has_the_rows_of_the_release_with_their_types(world: SinkWorld) -> None:
    release_id = world.release()
    key = "release_id, date, user_id, rank, item_id"
    listed = world.current("recommendations", key)
    assert len(listed) == 12 and listed[0] == (release_id, DAY, "u0", 1, "a1")
    assert world.current("offers", "user_id, offer_item_ids") == [
        (USER, ["x"]),
        ("u0", ["x", "a"]),
        ("u1", None),
        ("u2", []),
    ]
    assert len(world.current("users", "user_id")) == 5
    assert ("a1", "Title a1") in world.current("items", "item_id, title")
    assert not sync_sinks(world.settings)[0].is_new
    assert sync_sinks(world.settings, force=True)[0].is_new
    assert world.current("recommendations", key) == listed


def test_a_sink_follows_the_release_that_is_served(world: SinkWorld) -> None:
    world.use(tables=["recommendations", "items"])
    first = world.release(DAY, "a")
    world.shop.predict(NEXT, "b")
    second = world.shop.publish(NEXT).release_id
    assert list(outdated_sinks(world.settings, second)) != []
    sync_sinks(world.settings)
    assert outdated_sinks(world.settings, second) == {}
    models = "distinct release_id, model_version"
    assert world.current("recommendations", models) == [(second, "als-b")]
    rollback(world.shop.store)
    sync_sinks(world.settings)
    assert world.current("recommendations", models) == [(first, "als-a")]
    titles = {title for (title,) in world.current("items", "title")}
    assert "Title a1" in titles and "Title b1" not in titles


def test_days_are_kept_each_with_its_newest_rows(world: SinkWorld) -> None:
    world.use(tables=["recommendations"], keep="days")
    for day, tag in ((DAY, "a"), (NEXT, "b"), (NEXT, "c")):
        world.release(day, tag)
    rows = world.stored("recommendations", "date, model_version")
    assert rows == [(DAY, "als-a")] * 12 + [(NEXT, "als-c")] * 12


def test_a_new_column_of_a_table_is_added(
    world: SinkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.release()
    more = (*OFFERS.columns, *columns("why VARCHAR: in words"))
    extended = Table("predictions", "offers", "Offers.", more, key=("user_id",))
    monkeypatch.setitem(TABLES, OFFERS.qualified, extended)
    world.shop.predict(NEXT)
    world.shop.warehouse.replace_partition(
        extended,
        NEXT.isoformat(),
        "select 'u0' as user_id, ['y'] as offer_item_ids, null as review_id, "
        "null as example_review_ids, 'm' as model_version, 'since' as why",
    )
    world.shop.publish(NEXT, extended)
    assert sync_sinks(world.settings)[0].error is None
    assert world.current("offers", "user_id, offer_item_ids, why") == [("u0", ["y"], "since")]


def test_erased_users_leave_every_day_and_version(
    world: SinkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.use(keep="days")
    for day in (DAY, NEXT):
        world.release(day)
    statements: list[str] = []
    execute = sql_sink._SchemaWriter._execute

    def record(writer: sql_sink._SchemaWriter, *sql: str) -> None:
        statements.extend(sql)
        execute(writer, *sql)

    monkeypatch.setattr(sql_sink._SchemaWriter, "_execute", record)
    erased = ErasedKeys({"u1", USER}.__contains__, review_ids=frozenset([REVIEW]))
    erase_users(world.shop.store.engine, erased)
    assert erase_from_sinks(world.settings, erased) == 1
    for name in ("recommendations", "offers", "users"):
        assert not {"u1", USER} & {user for (user,) in world.stored(name, "user_id")}
    assert len(world.stored("recommendations", "rank")) == 16
    assert len(world.current("users", "user_id")) == 4
    is_database = not isinstance(world, DeltaWorld | ParquetWorld)
    assert world.stored("offers", "user_id, date, example_review_ids") == [
        ("u0", DAY, None if is_database else ["r1", "r2"]),
        ("u0", NEXT, ["r1", "r2"]),
        ("u2", DAY, []),
        ("u2", NEXT, []),
    ]
    assert not [sql for sql in statements if "77fae1" in sql]
    if isinstance(world, DeltaWorld | ParquetWorld):
        assert files_with(Path(world.url), "77fae1") == []
    elif isinstance(world, PostgresWorld):
        assert tables_with(world.url, "77fae1") == []


def test_reviews_of_erased_users_leave_every_day(world: SinkWorld) -> None:
    world.use(keep="days", tables=["offers"])
    for day in (DAY, NEXT):
        world.release(day)
    [sink] = open_sinks(world.settings)
    sink.erase(ErasedKeys("nobody".__eq__, review_ids=frozenset(["r1"])))
    stored = world.stored("offers", "user_id, date, example_review_ids")
    is_database = not isinstance(world, DeltaWorld | ParquetWorld)
    lists = {USER: None, "u0": None if is_database else [REVIEW, "r2"], "u2": []}
    assert stored == [(user, day, lists[user]) for user in lists for day in (DAY, NEXT)]


def test_a_sink_that_lost_a_table_of_the_settings_is_erased_whole(world: SinkWorld) -> None:
    world.release()
    world.use(tables=["recommendations"])
    world.release(NEXT)
    erased = ErasedKeys(USER.__eq__, review_ids=frozenset([REVIEW]))
    erase_users(world.shop.store.engine, erased)
    erase_from_sinks(world.settings, erased)
    assert [user for (user,) in world.stored("offers", "user_id")] == ["u0", "u1", "u2"]


def test_readers_see_a_whole_release_while_users_are_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("deltalake", reason="pip install -e '.[lakehouse]'")
    from deltalake import DeltaTable

    monkeypatch.setitem(TABLES, OFFERS.qualified, OFFERS)
    world = DeltaWorld(tmp_path / "home", str(tmp_path / "lake"))
    world.release()
    seen: list[tuple[str, int]] = []

    def look_after(name: str) -> None:
        step = getattr(DeltaSink, name)

        def do(sink: DeltaSink, *args: Any, **options: Any) -> Any:
            result = step(sink, *args, **options)
            seen.append((name, len(world.current("recommendations", "user_id"))))
            return result

        monkeypatch.setattr(DeltaSink, name, do)

    for name in ("erase", "write", "remove_old_versions"):
        look_after(name)
    erased = ErasedKeys("u1".__eq__)
    erase_users(world.shop.store.engine, erased)
    erase_from_sinks(world.settings, erased)
    assert seen == [("erase", 12), ("write", 8), ("remove_old_versions", 8)]
    # Commits of the library may follow those of a release.
    vacuum = DeltaTable.vacuum
    monkeypatch.setattr(
        DeltaTable,
        "vacuum",
        lambda table, **_: vacuum(table, 0, dry_run=False, enforce_retention_duration=False),
    )
    assert world.release(NEXT)
    assert len(world.current("recommendations", "user_id")) == 12
    erase_users(world.shop.store.engine, erased)
    erase_from_sinks(world.settings, erased)
    assert [rows for _, rows in seen[-3:]] == [12, 8, 8]
    world.shop.store.close()


def test_one_sink_that_fails_stops_no_other(world: SinkWorld, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    broken = SinkSettings(url=str(tmp_path / "file"))
    unreachable = SinkSettings(url="postgresql://someone:hunter2@127.0.0.1:1/none")
    release_id = world.release()
    settings = world.settings.model_copy(
        update={"sinks": [broken, unreachable, *world.settings.sinks]}
    )
    results = sync_sinks(settings)
    assert [bool(result.error) for result in results] == [True, True, False]
    assert "hunter2" not in str(results) and "127.0.0.1" in str(results[1].error)
    assert set(outdated_sinks(settings, release_id)) == {r.location for r in results[:2]}


@pytest.mark.parametrize("url", ["mysql://host/db", "ftp://host/folder", "sqlite:///file"])
def test_a_url_of_another_kind_is_refused(settings: Settings, url: str) -> None:
    settings = settings.model_copy(update={"sinks": [SinkSettings(url=url)]})
    with pytest.raises(SettingsError, match=r"sinks\.url"):
        sync_sinks(settings)


def test_a_table_that_the_release_lacks_is_named(world: SinkWorld) -> None:
    world.release()
    world.use(tables=["recomendations"])
    [result] = sync_sinks(world.settings)
    assert "no recomendations" in str(result.error) and "recommendations" in str(result.error)


def test_a_write_that_was_stopped_is_whole_after_the_next(
    world: SinkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.release()
    world.shop.predict(NEXT, "b")
    second = world.shop.publish(NEXT).release_id
    models = "distinct release_id, model_version"
    for stop_at in range(1, 5):
        with monkeypatch.context() as patch:
            stop_after(patch, stop_at)
            [result] = sync_sinks(world.settings)
        if result.error is None:
            # What earlier tries have written to Delta tables is not written again.
            break
        assert world.current("recommendations", models) == [(first, "als-a")]
    assert stop_at > 2 and (result.error is None or sync_sinks(world.settings)[0].is_new)
    assert world.current("recommendations", models) == [(second, "als-b")]
    assert len(world.current("users", "user_id")) == 5


def stop_after(monkeypatch: pytest.MonkeyPatch, tables: int) -> None:
    """Makes the stream of the n-th table fail."""
    read = SinkTable.reader
    streams = []

    def reader(table: SinkTable) -> pa.RecordBatchReader:
        streams.append(table.name)
        if len(streams) == tables:
            raise SinkError("the network is gone")
        return read(table)

    monkeypatch.setattr(SinkTable, "reader", reader)


def test_a_delta_table_of_others_is_left_alone(tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake", reason="pip install -e '.[lakehouse]'")
    others = pa.table({"user_id": ["someone"], "release_id": ["r"]})
    deltalake.write_deltalake(str(tmp_path / "lake" / "users"), others)
    world = DeltaWorld(tmp_path / "home", str(tmp_path / "lake"))
    world.shop.release()
    [result] = sync_sinks(world.settings)
    assert "lake/users was not written by a sink" in str(result.error)
    assert world.read("users").to_pylist() == others.to_pylist()
    world.shop.store.close()


def test_the_page_reads_the_tables_of_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("deltalake", reason="pip install -e '.[lakehouse]'")
    monkeypatch.setitem(TABLES, OFFERS.qualified, OFFERS)
    world = DeltaWorld(tmp_path / "home", str(tmp_path / "lake"))
    world.release()
    page = (ROOT / "docs" / "how_to" / "sinks.md").read_text()
    [code] = [
        text for text in re.findall(r"```python\n(.*?)```", page, re.S) if "deltalake" in text
    ]
    names: dict[str, Any] = {}
    exec(code.replace("s3://lake/predictions", world.url), names)
    assert len(names["lists"]) == 12 and set(names["lists"]["model_version"]) == {"als-a"}
    world.shop.store.close()


@pytest.mark.slow
def test_a_table_that_is_not_of_a_sink_is_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("adbc_driver_postgresql", reason="pip install -e '.[sql]'")
    world = PostgresWorld(tmp_path / "home", empty_postgres())
    engine = sa.create_engine(world.url)
    with engine.begin() as db:
        rows = "select 'someone' as user_id, 'r' as release_id"
        db.execute(sa.text(f"create table public.users as {rows}"))
    engine.dispose()
    world.use(database_schema="public")
    world.shop.release()
    [result] = sync_sinks(world.settings)
    assert "public.users was not written by a sink" in str(result.error)
    for sink in open_sinks(world.settings):
        sink.erase(ErasedKeys(lambda user: user == "someone"))
    assert world.query("select user_id from public.users") == [("someone",)]
    tables = "select table_name from information_schema.tables where table_schema = 'public'"
    assert world.query(tables) == [("users",)]
    world.shop.store.close()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("obstore", reason="pip install -e '.[lakehouse]'")
    lake = tmp_path / "lake"
    (lake / "users").mkdir(parents=True)
    (lake / "users" / "mine.parquet").write_bytes(b"mine")
    world = ParquetWorld(tmp_path / "home", str(lake))
    world.shop.release()
    [result] = sync_sinks(world.settings)
    assert "lake/users has files that no sink has written" in str(result.error)
    (lake / "current.json").write_text("{}")
    [result] = sync_sinks(world.settings)
    assert "lake/current.json was not written by a sink" in str(result.error)
    assert [path.name for path in lake.rglob("*.*")] == ["current.json", "mine.parquet"]
    (lake / "current.json").unlink()
    (lake / "users" / "mine.parquet").rename(lake / "mine.parquet")
    assert sync_sinks(world.settings)[0].is_new
    (lake / "mine.parquet").rename(lake / "users" / "mine.parquet")
    assert sync_sinks(world.settings, force=True)[0].is_new
    assert (lake / "users" / "mine.parquet").read_bytes() == b"mine"
    world.shop.store.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DeltaWorld, ParquetWorld])
def test_a_bucket_gets_tables(
    kind: type[SinkWorld], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bucket_server() as new_bucket:
        monkeypatch.setitem(TABLES, OFFERS.qualified, OFFERS)
        world = kind(tmp_path / "home", new_bucket().url)
        release_id = world.release()
        if kind is DeltaWorld:
            assert world.current("recommendations", "distinct release_id") == [(release_id,)]
        else:
            objects = ObjectFolder(world.url, "the sink", SinkError)
            current = json.loads((objects.get("current.json") or (b"", None))[0])
            assert current["release_id"] == release_id
            for name in (name for files in current["tables"].values() for name in files):
                assert objects.download(name, tmp_path / "rows.parquet")
                ids = pq.read_table(tmp_path / "rows.parquet")["release_id"]
                assert ids.unique().to_pylist() == [release_id]
        assert not sync_sinks(world.settings)[0].is_new
        erased = ErasedKeys(USER.__eq__)
        erase_users(world.shop.store.engine, erased)
        erase_from_sinks(world.settings, erased)
        objects = ObjectFolder(world.url, "the sink", SinkError)
        for name in objects.list():
            path = tmp_path / "objects" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            assert objects.download(name, path)
        assert files_with(tmp_path / "objects", USER) == []
        assert files_with(tmp_path / "objects", "u2")
        world.shop.store.close()
