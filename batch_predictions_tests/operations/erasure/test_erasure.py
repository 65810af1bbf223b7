"""A user is erased from every kind of file, whole or continued, and nobody else is."""

from __future__ import annotations

import datetime as dt
import itertools
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batch_predictions.core.erasures import read_erasures
from batch_predictions.core.home import HomeError
from batch_predictions.inference.results import MANIFEST, Shard, StagingManifest, write_result
from batch_predictions.operations.erasure.erase import erase_user, finish_erasures
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release_files.destinations import export_current
from batch_predictions.serving.release_files.folder import list_manifests, read_manifest
from batch_predictions.serving.release_files.release_source import ReleaseFiles
from batch_predictions.sources.manual_rows import add_manual_rows
from batch_predictions.sources.rows.ingest_log import (
    IngestLogEntry,
    read_ingest_log,
    update_ingest_log,
)
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    EXCLUSIONS,
    FEEDBACK,
    INTERACTIONS,
    ITEM_SENTIMENTS,
    QUARANTINE,
    RETENTION_AUDIENCE,
    REVIEW_SENTIMENTS,
    REVIEWS,
    TABLES,
    USER_ALIASES,
    USERS,
    Table,
)
from batch_predictions.tables.identifiers import is_identifying
from batch_predictions_tests.worlds.bytes_of_home import files_with
from batch_predictions_tests.worlds.home_state import copy_home
from batch_predictions_tests.worlds.http_service import ALL_TABLES, CONTEXT, WEEK, predict_all
from batch_predictions_tests.worlds.serving import DAY, NOW, ServingWorld, open_world
from batch_predictions_tests.worlds.table_rows import (
    arrow_rows,
    named_rows,
    write_events,
    write_rows,
)

USER, OTHER = "customer-77fae1", "u2"
REVIEW = "review-of-77fae1"
NOT_OF_USERS = {
    *("item_id", "item_ids", "offer_item_ids", "campaign_id", "event_id", "recommendation_id"),
    *("release_id", "run_id", "title", "term", "text", "attributes", "groups", "reason"),
}
"""Identifying columns that no user or review is identified by; texts of users are in their rows."""
KILLS_APART = 400
"""File operations between two kills; with 60 there are 14 kills, in a minute."""
OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "sqlite3.connect"}
"""Events of Python's audit hooks; the process dies before one of them."""


def write_home(home: Path) -> ServingWorld:
    """A home with rows of the user in everything that can have them."""
    world = open_world(home)
    day = DAY.isoformat()
    predict_all(world)
    _rename_user(world)
    write_events(world.warehouse, "user_id", [(USER,), (OTHER,)] * 3, date=DAY, item_id="a1")
    both = [{"user_id": user, "attributes": {"note": "kept"}} for user in (USER, OTHER)]
    write_rows(world.warehouse, USERS, both)
    reviews = [(REVIEW, USER), ("r1", OTHER)]
    said = {"date": DAY, "item_id": "a1", "rating": 5.0, "text": "soft", "simulated": False}
    write_rows(world.warehouse, REVIEWS, named_rows("review_id user_id", reviews, **said))
    _write_refused_rows(world, day)
    _write_sentiments(world, day)
    _write_engine_files(home / "inference" / "recommendations" / day)
    for table, key in ((INTERACTIONS, day), (REVIEWS, day), (USERS, day)):
        with update_ingest_log(home, table) as log:
            log.as_of = None if table.partition else day
            log.days[key] = IngestLogEntry(fingerprint="f", read=9, accepted=6, quarantined=3)
    listed = {"date": DAY, "campaign_id": "spring", "event_type": "listed"}
    events = arrow_rows(CAMPAIGN_EVENTS, [{**listed, "user_id": user} for user in (USER, OTHER)])
    write_rows(world.warehouse, CAMPAIGN_EVENTS, [], DAY)
    add_manual_rows(world.warehouse, CAMPAIGN_EVENTS, "spring", events)
    (home / "damaged").mkdir()
    (home / "damaged" / "data.parquet").write_bytes(f"damaged {USER}".encode())
    (home / "source_cache" / "bucket").mkdir(parents=True)
    (home / "source_cache" / "bucket" / "users.csv").write_text(USER)
    (home / "backtests" / "own").mkdir(parents=True)
    (home / "backtests" / "own" / "rows.txt").write_text(USER)
    (home / "report.html").write_text(USER)
    (home / "training_cache" / "recommender").mkdir(parents=True)
    (home / "training_cache" / "recommender" / "part.txt").write_text(USER)
    for number in range(2):
        if number:
            world.predict(DAY + dt.timedelta(days=1), "b")
            _rename_user(world, DAY + dt.timedelta(days=1))
        if number:
            world.publish(DAY + dt.timedelta(days=1), context=CONTEXT)
        else:
            world.publish(DAY, *ALL_TABLES, context=CONTEXT)
        export_current(world.settings, home / "releases")
    return world


def _rename_user(world: ServingWorld, day: dt.date = DAY) -> None:
    """Gives the user u1 the id that is searched for."""
    for table in ("recommendations", "churn_scores", "retention_audience", "promotion_audience"):
        _replace_id(world, f"predictions.{table}", day)
    _replace_id(world, "features.user_segments", day)


def _replace_id(world: ServingWorld, name: str, day: dt.date) -> None:
    if day.isoformat() in world.warehouse.partitions(TABLES[name]):
        query = (
            "select * replace (case when user_id = 'u1' then $user else user_id end as user_id) "
            f"from {name} where date = $day::DATE"
        )
        rows = world.warehouse.query(query, {"user": USER, "day": day.isoformat()})
        world.warehouse.replace_partition(TABLES[name], day.isoformat(), rows)


def _write_refused_rows(world: ServingWorld, day: str) -> None:
    refused = [
        ("one.csv", 1, "item_id is empty: fill it in", f'{{"user_id": " {USER} ", "item_id": ""}}'),
        ("one.csv", 2, f"event_id, user_id 'e1, {USER}' is already in row 1", '{"event_id": "e1"}'),
        ("one.csv", 3, "the line is damaged", f'{{"line": "e9;\\"{USER}\\";a1"}}'),
        ("one.csv", 4, "item_id is empty: fill it in", '{"user_id": "u2", "item_id": ""}'),
    ]
    names = ("source", "row_number", "reason", "row")
    columns = {name: [row[n] for row in refused] for n, name in enumerate(names)}
    rows = pa.table(columns)
    part = {"table_name": "interactions"}
    world.warehouse.replace_partition(QUARANTINE, day, rows, part=part)


def _write_sentiments(world: ServingWorld, day: str) -> None:
    warehouse = world.warehouse
    for table, change in (
        (REVIEW_SENTIMENTS, "union all by name select * replace ($review as review_id) from rows_"),
        (ITEM_SENTIMENTS, ""),
    ):
        replaced = "* replace ([$review, 'r1'] as example_review_ids)" if not change else "*"
        query = (
            f"with rows_ as (select * from {table.qualified} where week = $week::DATE) "
            f"select {replaced} from rows_ {change}"
        )
        rows = warehouse.query(query, {"week": WEEK, "review": REVIEW})
        warehouse.replace_partition(table, WEEK, rows)
    for name, keys in (
        ("churn_scores", (USER, OTHER)),
        ("promotion_audience", (f"spring|{USER}", f"spring|{OTHER}")),
        ("review_sentiments", (REVIEW, "r1")),
        ("demand_forecasts", ("a7|all", "a8|all")),
    ):
        rows = pa.table({"key": list(keys), "reason": ["too few rows"] * 2})
        warehouse.replace_partition(EXCLUSIONS, day, rows, part={"table_name": name})


def _write_engine_files(folder: Path) -> None:
    """A stage of three shards, two of which have the user, with results."""
    import pyarrow.parquet as pq

    stage = folder / "staged-0a0a"
    stage.mkdir(parents=True)
    (folder / "results").mkdir()
    shards = []
    candidates = pa.array([[{"user_id": USER}, {"user_id": OTHER}]])
    for name, user in (("mine", USER), ("listed", OTHER), ("other", OTHER)):
        rows = {"candidates": candidates} if name == "listed" else {"user_id": [user]}
        pq.write_table(pa.table(rows), stage / f"{name}.parquet")
        result = pa.RecordBatch.from_pydict({"user_id": [user], "score": [1.0]})
        write_result(result, folder / "results" / f"{name}.parquet")
        shards.append(
            Shard(name=f"{name}.parquet", rows=1, first_key=user, last_key=user, result=name)
        )
    manifest = StagingManifest(
        table="predictions.recommendations",
        partition=folder.name,
        key=("user_id",),
        rows=3,
        shards=tuple(shards),
        lookup_tables={},
        scorer="x",
        model=None,
        model_version="rules-1",
        model_folder=None,
        parameters={},
    )
    (stage / MANIFEST).write_text(manifest.model_dump_json())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the user; tests copy it."""
    home = tmp_path_factory.mktemp("erasure") / "home"
    world = write_home(home)
    world.store.close()
    assert len(files_with(home, USER)) > 20
    return home


def copy_of(template: Path, home: Path) -> ServingWorld:
    return open_world(copy_home(template, home))


def rows_of(world: ServingWorld, table: Table | str) -> list[dict[str, Any]]:
    name = table if isinstance(table, str) else table.qualified
    return world.warehouse.query(f"from {name} order by all").to_pylist()


def assert_erased(world: ServingWorld) -> None:
    """Nothing of the user is left, and everything of others is there."""
    home = world.settings.home
    assert not files_with(home, USER)
    assert not files_with(home, REVIEW)
    log = read_erasures(home)
    assert log is not None and not log.pending and log.work is None
    for name in (
        "raw.interactions",
        "raw.users",
        "raw.campaign_events",
        "predictions.churn_scores",
    ):
        assert OTHER in {row["user_id"] for row in rows_of(world, name)}, name
    assert [row["review_id"] for row in rows_of(world, REVIEWS)] == ["r1"]
    assert [row["example_review_ids"] for row in rows_of(world, ITEM_SENTIMENTS)] == [["r1"]]
    keys = {row["key"] for row in rows_of(world, EXCLUSIONS)}
    assert keys == {OTHER, f"spring|{OTHER}", "r1", "a7|all", "a8|all"}
    ranks = [row["rank"] for row in rows_of(world, RETENTION_AUDIENCE)]
    assert ranks == list(range(1, 25))
    refused = [row for row in rows_of(world, QUARANTINE) if row["source"]]
    assert [(r["row_number"], r["reason"] == "erased", r["row"] == "{}") for r in refused] == [
        (1, True, True),
        (2, True, True),
        (3, True, True),
        (4, False, False),
    ]
    with Lookup(world.settings) as store, ReleaseFiles(home / "releases", poll_seconds=None) as f:
        files = Lookup(f)
        assert files.recommendations(USER) == store.recommendations(USER)
        assert store.recommendations(USER)["source"] == "popular"
        assert files.recommendations(OTHER) == store.recommendations(OTHER)
        assert store.recommendations(OTHER)["source"] == "personal"
        for reader in (files, store):
            assert [row["events"] for row in reader.rows("user_history", user_id=OTHER)] == [3]
            assert reader.rows("user_history", user_id=USER) == []
    days = {read_manifest(path).as_of for path in list_manifests(home / "releases")}
    assert days == {DAY, DAY + dt.timedelta(days=1)}
    results = [path.stem for path in (home / "inference").rglob("results/*.parquet")]
    assert results == ["other"]


def test_nothing_is_left_of_a_user_and_nobody_else_is_touched(
    template: Path, tmp_path: Path
) -> None:
    world = copy_of(template, tmp_path / "home")
    before = read_ingest_log(tmp_path / "home", INTERACTIONS).days[DAY.isoformat()]
    summary = erase_user(world.settings, DagsterRecords(world.settings), USER, NOW)
    assert (summary.users, summary.unknown) == (1, 0)
    assert (summary.release_files, summary.notes) == (2, [])
    assert_erased(world)
    after = read_ingest_log(tmp_path / "home", INTERACTIONS).days[DAY.isoformat()]
    assert (after.read, after.accepted) == (before.read, before.accepted - 3)
    erased = [r for r in rows_of(world, QUARANTINE) if r["reason"] == "erased" and not r["source"]]
    assert len([row for row in erased if row["table_name"] == "interactions"]) == 3
    again = finish_erasures(world.settings, DagsterRecords(world.settings), NOW)
    assert again.users == again.partitions == 0
    world.store.close()


def can_have_users(table: Table) -> bool:
    """Whether a column of the table may have the id of a user or of a review."""
    return any(
        is_identifying(column) and column.name not in NOT_OF_USERS for column in table.columns
    )


def row_with(table: Table, user: str, review: str) -> str:
    """SQL of a row that has the ids in the columns that can have them."""
    ids = {
        "user_id": f"'{user}'",
        "alias": f"'{user}'",
        "review_id": f"'{review}'",
        "example_review_ids": f"['{review}']",
        "key": f"'{user}'",
        "row": f"""'{{"user_id": "{user}"}}'::JSON""",
    }
    values = {"VARCHAR": "'x'", "DOUBLE": "1.0", "BIGINT": "1", "BOOLEAN": "false"}
    columns = [
        f"{ids.get(column.name) or values.get(column.type) or f'null::{column.type}'} "
        f'as "{column.name}"'
        for column in table.columns
        if column.name not in table.folders
    ]
    return f"select {', '.join(columns)}"


def test_every_declared_table_is_erased_from(tmp_path: Path) -> None:
    home = tmp_path / "home"
    world = open_world(home)
    holders = [table for table in TABLES.values() if can_have_users(table)]
    assert {FEEDBACK, INTERACTIONS, EXCLUSIONS, QUARANTINE, ITEM_SENTIMENTS} <= {*holders}
    for table in [REVIEWS, *holders]:
        partition = {"week": WEEK, "date": DAY.isoformat()}.get(table.partition or "")
        part = dict.fromkeys(table.parts, "churn_scores") or None
        world.warehouse.replace_partition(
            table, partition, row_with(table, USER, REVIEW), part=part
        )
    planted = " ".join({*files_with(home, USER), *files_with(home, REVIEW)})
    missed = [t.qualified for t in holders if f"warehouse/{t.schema}/{t.name}/" not in planted]
    assert missed == [], "say in `row_with` how the table has ids"
    erase_user(world.settings, DagsterRecords(world.settings), USER, NOW)
    assert files_with(home, USER) == []
    assert files_with(home, REVIEW) == []
    world.store.close()


@pytest.mark.parametrize("given", [USER, "former-77fae1", "first-77fae1"])
def test_all_ids_of_a_merged_user_are_erased(template: Path, tmp_path: Path, given: str) -> None:
    home = tmp_path / "home"
    world = copy_of(template, home)
    merges = {"former-77fae1": USER, "first-77fae1": USER, "u7": OTHER}
    rows = [{"alias": alias, "user_id": user} for alias, user in merges.items()]
    write_rows(world.warehouse, USER_ALIASES, rows)
    with update_ingest_log(home, INTERACTIONS) as log:
        log.aliases = merges
    erase_user(world.settings, DagsterRecords(world.settings), given, NOW)
    assert_erased(world)
    assert files_with(home, "77fae1") == []
    assert read_ingest_log(home, INTERACTIONS).aliases == {"u7": OTHER}
    assert rows_of(world, USER_ALIASES) == [{"alias": "u7", "user_id": OTHER}]
    record = read_erasures(home)
    assert record is not None and record.pending == []
    assert all(record.users.matches(user_id) for user_id in (USER, "former-77fae1", "first-77fae1"))
    world.store.close()


def test_a_user_with_a_short_id_takes_no_other_ids_along(template: Path, tmp_path: Path) -> None:
    world = copy_of(template, tmp_path / "home")
    tables = ("raw.users", "raw.reviews", "predictions.exclusions", "predictions.churn_scores")
    before = [rows_of(world, name) for name in tables]
    for nobody in ("1", "u", "spring", "a1", "r1", "all"):
        summary = erase_user(world.settings, DagsterRecords(world.settings), nobody, NOW)
        assert (summary.users, summary.unknown) == (0, 1)
    assert [rows_of(world, name) for name in tables] == before
    assert len(rows_of(world, QUARANTINE)) == 4
    world.store.close()


def run_until(number: int, home: Path) -> None:
    """Erases the user; before the n-th file operation the process dies by SIGKILL."""
    world = open_world(home)
    seen = itertools.count(1)

    def die(event: str, _: tuple[Any, ...]) -> None:
        if event in OPERATIONS and next(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    erase_user(world.settings, DagsterRecords(world.settings), USER, NOW)
    os._exit(0)


@pytest.mark.slow
def test_an_erasure_that_is_killed_is_continued(template: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    kills = 0
    for number in itertools.count(40, KILLS_APART):
        home = tmp_path / f"home-{number}"
        copy_of(template, home).store.close()
        process = context.Process(target=run_until, args=(number, home))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        world = open_world(home)
        if process.exitcode:
            kills += 1
            if read_erasures(home) is None:
                erase_user(world.settings, DagsterRecords(world.settings), USER, NOW)
            else:
                finish_erasures(world.settings, DagsterRecords(world.settings), NOW)
        assert_erased(world)
        world.store.close()
        shutil.rmtree(home)
        if not process.exitcode:
            break
    assert kills >= 2


def test_a_record_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    world = open_world(tmp_path / "home")
    (tmp_path / "home" / "erasures.json").write_text("{")
    with pytest.raises(HomeError, match="erasures"):
        finish_erasures(world.settings, DagsterRecords(world.settings), NOW)
    world.store.close()
