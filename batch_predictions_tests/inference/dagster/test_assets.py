"""A declaration of some 20 lines becomes a sharded, resumable, checked asset in the releases."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.dagster.assets import GPU
from batch_predictions.inference.scorer import ScorerContext, ScorerMetric, with_metrics
from batch_predictions.inference.validation import Check
from batch_predictions.serving.assets import release_asset
from batch_predictions.serving.lookup import Lookup
from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions.tables import (
    EXCLUSIONS,
    INTERACTIONS,
    ITEM_STATE,
    TABLES,
    USER_SEGMENTS,
    Table,
    columns,
    declare,
)
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.engine import read_rows
from batch_predictions_tests.worlds.home import PARTITIONS, materialize, prediction_asset
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.table_rows import write_events

# --- the whole declaration ----------------------------------------------------------------------

TOY = Table(
    "predictions",
    "toy",
    "Twice the number of events of every user.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: user
        twice BIGINT: two times the events so far
        model_version VARCHAR: version of the rule
    """),
    key=("user_id",),
)


class ToyScorer:
    """Doubles the number of events; excludes users whose name begins with x."""

    version: ClassVar[str] = "1"

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        return cls()

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        users = rows["user_id"].to_pylist()
        events = rows["events"].to_pylist()
        twice = [None if u[0] == "x" else 2 * n for u, n in zip(users, events, strict=True)]
        reasons = ["x is unknown" if value is None else None for value in twice]
        return pa.RecordBatch.from_pydict({"user_id": users, "twice": twice, "excluded": reasons})


toy = BatchPrediction(
    table=TOY,
    key=("user_id",),
    rows="""select user_id, count(*) as events from raw.interactions
        where date <= $date group by user_id""",
    scorer=ToyScorer,
    checks=(Check("small", "No sum over 100.", "select count(*) from new_rows where twice > 100"),),
)

# --- the asset ----------------------------------------------------------------------------------

DAYS = ("2024-01-02", "2024-01-03")


@pytest.fixture(autouse=True)
def _declare_table() -> Iterator[None]:
    declare(TOY)
    yield
    del TABLES[TOY.qualified]


@pytest.fixture
def warehouse(settings: Settings, warehouse: Warehouse) -> Warehouse:
    """A warehouse with events of users u0 to u9 and x0.

    User un has n + 1 events by the first day, and one more per day.
    """
    settings.inference = InferenceSettings(shard_rows=3, device="cpu", workers=2)
    for number, day in enumerate(DAYS):
        _events(
            warehouse, day, *(("x0", 1), *((f"u{n}", 1 if number else n + 1) for n in range(10)))
        )
    return warehouse


def _events(warehouse: Warehouse, day: str, *counts: tuple[str, int]) -> None:
    events = [(user, "i") for user, count in counts for _ in range(count)]
    date = dt.date.fromisoformat(day)
    write_events(warehouse, "user_id item_id", events, date, date=date, quantity=1.0, amount=1.0)


def _materialize(
    settings: Settings, *days: str, extra: tuple[Any, ...] = (), fails: bool = False
) -> dg.ExecuteInProcessResult:
    result = materialize([prediction_asset(toy), *extra], settings, *days)
    assert result.success is not fails
    return result


def _rows(warehouse: Warehouse, day: str) -> dict[str, int]:
    rows = warehouse.query(
        "select user_id, twice from predictions.toy where date = $date", {"date": day}
    )
    return dict(zip(*(rows[name].to_pylist() for name in ("user_id", "twice")), strict=True))


def test_a_day_is_scored_in_shards_and_every_key_is_accounted_for(
    settings: Settings, warehouse: Warehouse
) -> None:
    result = _materialize(settings, DAYS[0])
    assert _rows(warehouse, DAYS[0]) == {f"u{n}": 2 * (n + 1) for n in range(10)}
    excluded = warehouse.query(
        "select table_name, key, reason from predictions.exclusions"
    ).to_pylist()
    assert excluded == [{"table_name": "toy", "key": "x0", "reason": "x is unknown"}]
    assert {c.check_name: c.passed for c in result.get_asset_check_evaluations()} == {
        "accounted": True,
        "small": True,
        "is_usual": True,
    }
    shards = list((settings.home / "inference" / "toy" / DAYS[0]).glob("staged-*/shard-*"))
    assert len(shards) == 4
    (event,) = result.get_asset_materialization_events()
    metadata: Mapping[str, Any] = event.materialization.metadata
    assert metadata["dagster/partition_row_count"].value == 10
    assert (metadata["keys_scored"].value, metadata["keys_excluded"].value) == (10, 1)
    assert (metadata["instances"].value, metadata["device"].value) == (2, "cpu")
    assert metadata["rows_per_second"].value > 0 and metadata["score_seconds"].value >= 0
    assert "| … |" in str(metadata["preview"].value)


def test_users_who_are_eligible_and_not_scored_are_counted_and_have_a_reason(
    settings: Settings, warehouse: Warehouse
) -> None:
    few = replace(
        toy,
        rows=f"{toy.rows} having count(*) <= 5",
        eligible="""select user_id, 'more than 5 events' as reason
            from raw.interactions where date <= $date""",
    )
    first = materialize([prediction_asset(few)], settings, DAYS[0])
    part = {"table_name": "toy"}
    path = warehouse.path(EXCLUSIONS, DAYS[0], part)
    content = path.read_bytes()
    second = materialize([prediction_asset(few)], settings, DAYS[0])
    assert first.success and second.success and path.read_bytes() == content
    reasons = {row["key"]: row["reason"] for row in read_rows(path)}
    assert reasons == {"x0": "x is unknown"} | {f"u{n}": "more than 5 events" for n in range(5, 10)}
    (event,) = first.get_asset_materialization_events()
    counts: Mapping[str, Any] = event.materialization.metadata
    names = ("keys_eligible", "keys_scored", "keys_excluded")
    assert [counts[name].value for name in names] == [11, 5, 6]
    [accounted] = [
        check for check in first.get_asset_check_evaluations() if check.check_name == "accounted"
    ]
    assert accounted.passed and accounted.metadata["eligible"].value == 11
    assert accounted.metadata["staged"].value == 6


def test_metrics_of_a_scorer_are_logged_and_shown(
    settings: Settings,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    score = ToyScorer.score

    def score_with_metrics(self: ToyScorer, rows: pa.RecordBatch) -> pa.RecordBatch:
        is_first = rows["user_id"][0].as_py() == "u0"
        recall = ScorerMetric(mean=1.0 if is_first else 0.5, sample_size=2)
        metrics = {"recall": recall} if rows.num_rows == 3 else {}
        return with_metrics(score(self, rows), metrics)

    monkeypatch.setattr(ToyScorer, "score", score_with_metrics)
    for _ in range(2):  # The second run scores nothing; the metrics are in the results.
        result = _materialize(settings, DAYS[0])
        (event,) = result.get_asset_materialization_events()
        metadata = event.materialization.metadata
        # Three of the four shards have three rows: 1, .5 and .5.
        assert metadata["recall"].value == pytest.approx(2 / 3)
        assert metadata["recall_sample"].value == 6
        log = capfd.readouterr().err
        assert "recall 0.667, on a sample of 6" in log
    assert "nothing to score" in log


@pytest.mark.slow
def test_a_range_of_days_is_one_run_with_the_rows_of_single_days(
    settings: Settings, warehouse: Warehouse
) -> None:
    result = _materialize(settings, *DAYS)
    assert [e.partition for e in result.get_asset_materialization_events()] == list(DAYS)
    assert _rows(warehouse, DAYS[1]) == {f"u{n}": 2 * (n + 2) for n in range(10)}
    path = warehouse.path(TOY, DAYS[1])
    content = path.read_bytes()
    _materialize(settings, DAYS[1])
    assert path.read_bytes() == content


def test_only_changed_shards_are_scored_again(
    settings: Settings, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[str] = []
    score = ToyScorer.score

    def record_users(self: ToyScorer, rows: pa.RecordBatch) -> pa.RecordBatch:
        scored.extend(rows["user_id"].to_pylist())
        return score(self, rows)

    monkeypatch.setattr(ToyScorer, "score", record_users)
    _materialize(settings, DAYS[0])
    assert len(scored) == 11
    _materialize(settings, DAYS[0])
    assert len(scored) == 11
    _events(warehouse, DAYS[0], ("x0", 1), *((f"u{n}", n + 1) for n in range(9)), ("u9", 20))
    _materialize(settings, DAYS[0])
    # u9 and x0 are in the last shard.
    assert scored[11:] == ["u9", "x0"]
    assert _rows(warehouse, DAYS[0])["u9"] == 40


def test_a_failed_check_replaces_nothing_and_names_the_days(
    settings: Settings, warehouse: Warehouse
) -> None:
    _materialize(settings, *DAYS)
    old = {day: warehouse.path(TOY, day).read_bytes() for day in DAYS}
    _events(warehouse, DAYS[1], ("u0", 200))
    result = _materialize(settings, *DAYS, fails=True)
    assert {day: warehouse.path(TOY, day).read_bytes() for day in DAYS} == old
    assert result.get_asset_materialization_events() == []
    check = next(c for c in result.get_asset_check_evaluations() if c.check_name == "small")
    assert not check.passed and check.metadata["failing"].value == {DAYS[1]: 1}


def test_a_lost_key_fails_the_run(
    settings: Settings, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = ToyScorer.score
    monkeypatch.setattr(ToyScorer, "score", lambda self, rows: score(self, rows.slice(1)))
    result = _materialize(settings, DAYS[0], fails=True)
    check = next(c for c in result.get_asset_check_evaluations() if c.check_name == "accounted")
    assert not check.passed and "keys lost" in str(check.metadata["what"].value)


def test_a_day_without_its_upstream_fails_with_a_message(
    settings: Settings, warehouse: Warehouse
) -> None:
    result = _materialize(settings, "2024-01-05", fails=True)
    failure = next(e for e in result.all_events if e.event_type_value == "STEP_FAILURE")
    data = failure.step_failure_data
    assert "raw/interactions for 2024-01-05" in str(
        data.user_failure_data.description if data.user_failure_data else data.error
    )


def _step_failure(result: dg.ExecuteInProcessResult) -> str:
    failure = next(e for e in result.all_events if e.event_type_value == "STEP_FAILURE")
    data = failure.step_failure_data
    return str(data.user_failure_data.description if data.user_failure_data else data.error)


def test_rows_that_a_view_does_not_find_are_not_replaced_by_none(
    settings: Settings, warehouse: Warehouse
) -> None:
    _materialize(settings, DAYS[1])
    old = warehouse.path(TOY, DAYS[1]).read_bytes()
    with duckdb.connect(str(settings.home / "warehouse.duckdb")) as db:
        [(view,)] = db.execute(
            "select sql from duckdb_views() where view_name = 'interactions'"
        ).fetchall()
        db.execute("drop view raw.interactions")
        db.execute(view.replace("/interactions/", "/nowhere/"))
    message = _step_failure(_materialize(settings, DAYS[1], fails=True))
    assert "has 11 rows, but the view raw.interactions" in message
    assert "warehouse.views" in message
    assert warehouse.path(TOY, DAYS[1]).read_bytes() == old


def test_a_day_on_which_nothing_happened_has_no_predictions(
    settings: Settings, warehouse: Warehouse
) -> None:
    for day in DAYS:
        _materialize(settings, day)
        _events(warehouse, day, ("u0", 1))
        no_rows = warehouse.query("select * exclude (date) from raw.interactions where false")
        warehouse.replace_partition(INTERACTIONS, day, no_rows)
    _materialize(settings, DAYS[1])
    assert _rows(warehouse, DAYS[1]) == {}


def test_only_the_scoring_step_has_gpu_tags_and_the_pool() -> None:
    asset = prediction_asset(toy)
    ops = {op.name: op for op in asset.node_def.iterate_op_defs()}
    assert ops["toy__score"].pool == "gpu"
    assert set(GPU) <= set(ops["toy__score"].tags)
    for name in ("toy__stage", "toy__load"):
        assert ops[name].pool is None and not set(GPU) & set(ops[name].tags)


def test_lineage_is_derived_from_the_sql() -> None:
    asset = prediction_asset(toy)
    assert asset.key == dg.AssetKey(["predictions", "toy"])
    assert set(asset.dependency_keys) == {dg.AssetKey(["raw", "interactions"])}


def test_the_table_goes_into_the_next_release(settings: Settings, warehouse: Warehouse) -> None:
    warehouse.replace_partition(
        USER_SEGMENTS,
        DAYS[0],
        "select 'u1' as user_id, 'unknown' as age_bracket, 'unknown' as gender, "
        "'unknown' as location",
    )
    warehouse.replace_partition(
        ITEM_STATE,
        DAYS[0],
        "select 'i' as item_id, 'i' as title, 'c' as category, 1.0 as price, "
        "false as is_excluded, true as available",
    )
    _materialize(settings, DAYS[0], extra=(release_asset([toy], PARTITIONS),))
    with Lookup(settings) as lookup:
        (row,) = lookup.rows("toy", user_id="u3")
    assert row["twice"] == 8


@pytest.mark.slow
def test_a_run_after_a_killed_one_scores_the_missing_shards(
    settings: Settings, warehouse: Warehouse, tmp_path: Path
) -> None:
    """The killed process has scored two shards; the next run scores only the others."""
    script = textwrap.dedent(f"""
        import sys, threading
        sys.path[:0] = [{str(ROOT)!r}]
        import batch_predictions_tests.inference.dagster.test_assets as t
        from batch_predictions.settings import InferenceSettings, Settings
        from pathlib import Path
        score = t.ToyScorer.score
        def score_slowly(self, rows):
            if rows["user_id"][0].as_py() > "u4":
                threading.Event().wait()
            return score(self, rows)
        t.ToyScorer.score = score_slowly
        t.declare(t.TOY)
        settings = Settings(home=Path({str(settings.home)!r}))
        settings.inference = InferenceSettings(shard_rows=3, device="cpu", workers=1)
        t._materialize(settings, {DAYS[0]!r})
    """)
    env = {**os.environ, "BATCH_PREDICTIONS_HOME": str(settings.home)}
    child = subprocess.Popen([sys.executable, "-c", script], env=env, cwd=tmp_path)
    results = settings.home / "inference" / "toy" / DAYS[0] / "results"
    while child.poll() is None and len(list(results.glob("[0-9a-f]*.parquet"))) < 2:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    written = {path.name: path.stat().st_mtime_ns for path in results.glob("[0-9a-f]*.parquet")}
    assert len(written) == 2 and not warehouse.path(TOY, DAYS[0]).exists()
    _materialize(settings, DAYS[0])
    assert {n: (results / n).stat().st_mtime_ns for n in written} == written
    assert _rows(warehouse, DAYS[0]) == {f"u{n}": 2 * (n + 1) for n in range(10)}


def test_the_declaration_is_short() -> None:
    """At most 20 lines besides the table and the scorer."""
    text = Path(__file__).read_text(encoding="utf-8")
    declaration = text[text.index("toy = BatchPrediction(") : text.index("# --- the asset")]
    assert len(declaration.strip().splitlines()) <= 20
