"""One more prediction in one file: what a declaration of some 20 lines gets."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import dagster as dg
import pyarrow as pa
import pytest

from batch_predictions.inference.dagster.assets import GPU
from batch_predictions.inference.dagster.io_manager import JsonPathIOManager
from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.partition_staging import stage_partition
from batch_predictions.inference.scorer import ScorerContext, ScorerMetric, with_metrics
from batch_predictions.inference.staging import StagingManifest
from batch_predictions.inference.validation import Check
from batch_predictions.model_store import ModelStore
from batch_predictions.serving.assets import release_asset
from batch_predictions.serving.lookup import Lookup
from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions.tables import (
    INTERACTIONS,
    ITEM_STATE,
    TABLES,
    USER_SEGMENTS,
    Table,
    columns,
    declare,
)
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home import PARTITIONS, prediction_asset
from batch_predictions_tests.worlds.paths import ROOT

# --- the declaration, whole ---------------------------------------------------------------------

TOY = Table(
    "predictions",
    "toy",
    "Twice what everyone did.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: who
        twice BIGINT: two times the events so far
        model_version VARCHAR: what decided it
    """),
    key=("user_id",),
)


class ToyScorer:
    """Doubles; knows nobody whose name begins with x."""

    version = "1"

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        return cls()

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        users = rows["user_id"].to_pylist()
        events = rows["events"].to_pylist()
        twice = [None if u[0] == "x" else 2 * n for u, n in zip(users, events, strict=True)]
        why = ["nobody knows x" if each is None else None for each in twice]
        return pa.RecordBatch.from_pydict({"user_id": users, "twice": twice, "excluded": why})


toy = BatchPrediction(
    table=TOY,
    key=("user_id",),
    rows="""select user_id, count(*) as events from raw.interactions
        where date <= $date group by user_id""",
    scorer=ToyScorer,
    checks=(Check("small", "No sum over 100.", "select count(*) from new_rows where twice > 100"),),
)

# --- what it gets -------------------------------------------------------------------------------

DAYS = ("2024-01-02", "2024-01-03")


@pytest.fixture(autouse=True)
def _declared() -> Iterator[None]:
    declare(TOY)
    yield
    del TABLES[TOY.qualified]


@pytest.fixture
def shop(settings: Settings, warehouse: Warehouse) -> Warehouse:
    """Users u0 to u9 and x0: un has done n + 1 things by the first day, and one more a day."""
    settings.inference = InferenceSettings(shard_rows=3, device="cpu", workers=2)
    for number, day in enumerate(DAYS):
        _events(
            warehouse, day, *(("x0", 1), *((f"u{n}", 1 if number else n + 1) for n in range(10)))
        )
    return warehouse


def _events(warehouse: Warehouse, day: str, *counts: tuple[str, int]) -> None:
    rows = [
        {
            "event_id": f"{day}-{user}-{n}",
            "user_id": user,
            "item_id": "i",
            "event_type": "view",
            "quantity": 1.0,
            "amount": 1.0,
            "location": "here",
            "occurred_at": dt.datetime.fromisoformat(day),
        }
        for user, count in counts
        for n in range(count)
    ]
    warehouse.replace_partition(INTERACTIONS, day, pa.Table.from_pylist(rows))


def _materialize(
    settings: Settings, *days: str, extra: tuple[Any, ...] = (), fails: bool = False
) -> dg.ExecuteInProcessResult:
    tags = {"dagster/asset_partition_range_start": min(days)}
    tags["dagster/asset_partition_range_end"] = max(days)
    result = dg.materialize(
        [prediction_asset(toy), *extra],
        partition_key=days[0] if len(days) == 1 else None,
        tags=tags if len(days) > 1 else None,
        resources={
            "settings": settings,
            "warehouse": Warehouse.of(settings),
            "models": ModelStore.of(settings),
            "handles": JsonPathIOManager(home=str(settings.home)),
        },
        raise_on_error=False,
    )
    assert result.success is not fails
    return result


def _rows(warehouse: Warehouse, day: str) -> dict[str, int]:
    rows = warehouse.query(
        "select user_id, twice from predictions.toy where date = $date", {"date": day}
    )
    return dict(zip(*(rows[name].to_pylist() for name in ("user_id", "twice")), strict=True))


def test_a_day_is_scored_in_shards_and_every_key_is_accounted_for(
    settings: Settings, shop: Warehouse
) -> None:
    result = _materialize(settings, DAYS[0])
    assert _rows(shop, DAYS[0]) == {f"u{n}": 2 * (n + 1) for n in range(10)}
    excluded = shop.query("select table_name, key, reason from predictions.exclusions").to_pylist()
    assert excluded == [{"table_name": "toy", "key": "x0", "reason": "nobody knows x"}]
    assert {c.check_name: c.passed for c in result.get_asset_check_evaluations()} == {
        "accounted": True,
        "small": True,
    }
    shards = list((settings.home / "inference" / "toy" / DAYS[0]).glob("staged-*/shard-*"))
    assert len(shards) == 4
    (event,) = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert metadata["dagster/partition_row_count"].value == 10
    assert (metadata["keys_scored"].value, metadata["keys_excluded"].value) == (10, 1)
    assert (metadata["instances"].value, metadata["device"].value) == (2, "cpu")
    assert metadata["rows_per_second"].value > 0 and metadata["score_seconds"].value >= 0
    assert "u0" in str(metadata["preview"].value)


def test_what_a_scorer_notes_is_logged_and_shown(
    settings: Settings,
    shop: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    plain = ToyScorer.score

    def noted(self: ToyScorer, rows: pa.RecordBatch) -> pa.RecordBatch:
        first = rows["user_id"][0].as_py() == "u0"
        note = ScorerMetric(mean=1.0 if first else 0.5, of=2)
        return with_metrics(plain(self, rows), {"recall": note} if rows.num_rows == 3 else {})

    monkeypatch.setattr(ToyScorer, "score", noted)
    for _ in range(2):  # The second time nothing is scored; what was noted is kept.
        result = _materialize(settings, DAYS[0])
        (event,) = result.get_asset_materialization_events()
        metadata = event.materialization.metadata
        # Three of the four shards have three rows: 1, .5 and .5.
        assert metadata["recall"].value == pytest.approx(2 / 3)
        assert metadata["recall_sample"].value == 6
        said = capfd.readouterr().err
        assert "recall 0.667, on a sample of 6" in said
    assert "nothing to score" in said


def test_a_range_of_days_is_one_run_and_the_same_rows(settings: Settings, shop: Warehouse) -> None:
    result = _materialize(settings, *DAYS)
    assert [e.partition for e in result.get_asset_materialization_events()] == list(DAYS)
    assert _rows(shop, DAYS[1]) == {f"u{n}": 2 * (n + 2) for n in range(10)}
    path = shop.path(TOY, DAYS[1])
    before = path.read_bytes()
    _materialize(settings, DAYS[1])
    assert path.read_bytes() == before


def test_an_unchanged_day_is_not_scored_again_and_a_changed_shard_alone_is(
    settings: Settings, shop: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[str] = []
    plain = ToyScorer.score

    def counted(self: ToyScorer, rows: pa.RecordBatch) -> pa.RecordBatch:
        scored.extend(rows["user_id"].to_pylist())
        return plain(self, rows)

    monkeypatch.setattr(ToyScorer, "score", counted)
    _materialize(settings, DAYS[0])
    assert len(scored) == 11
    _materialize(settings, DAYS[0])
    assert len(scored) == 11
    _events(shop, DAYS[0], ("x0", 1), *((f"u{n}", n + 1) for n in range(9)), ("u9", 20))
    _materialize(settings, DAYS[0])
    # The last shard of three holds u9 and x0.
    assert scored[11:] == ["u9", "x0"]
    assert _rows(shop, DAYS[0])["u9"] == 40


def test_a_failed_check_replaces_nothing_and_names_the_days(
    settings: Settings, shop: Warehouse
) -> None:
    _materialize(settings, *DAYS)
    old = {day: shop.path(TOY, day).read_bytes() for day in DAYS}
    _events(shop, DAYS[1], ("u0", 200))
    result = _materialize(settings, *DAYS, fails=True)
    assert {day: shop.path(TOY, day).read_bytes() for day in DAYS} == old
    assert result.get_asset_materialization_events() == []
    check = next(c for c in result.get_asset_check_evaluations() if c.check_name == "small")
    assert not check.passed and check.metadata["failing"].value == {DAYS[1]: 1}


def test_a_key_that_gets_lost_fails_the_run(
    settings: Settings, shop: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ToyScorer.score
    monkeypatch.setattr(ToyScorer, "score", lambda self, rows: plain(self, rows.slice(1)))
    result = _materialize(settings, DAYS[0], fails=True)
    check = next(c for c in result.get_asset_check_evaluations() if c.check_name == "accounted")
    assert not check.passed and "keys lost" in str(check.metadata["what"].value)


def test_a_day_whose_upstream_was_never_made_is_refused_in_words(
    settings: Settings, shop: Warehouse
) -> None:
    result = _materialize(settings, "2024-01-05", fails=True)
    failure = next(e for e in result.all_events if e.event_type_value == "STEP_FAILURE")
    data = failure.step_failure_data
    assert "raw/interactions for 2024-01-05" in str(
        data.user_failure_data.description if data.user_failure_data else data.error
    )


def test_only_the_heavy_step_has_the_gpu_tags_and_the_pool() -> None:
    asset = prediction_asset(toy)
    ops = {op.name: op for op in asset.node_def.iterate_op_defs()}
    assert ops["toy__score"].pool == "gpu"
    assert set(GPU) <= set(ops["toy__score"].tags)
    for name in ("toy__stage", "toy__load"):
        assert ops[name].pool is None and not set(GPU) & set(ops[name].tags)


def test_lineage_is_found_in_the_declaration() -> None:
    asset = prediction_asset(toy)
    assert asset.key == dg.AssetKey(["predictions", "toy"])
    assert set(asset.dependency_keys) == {dg.AssetKey(["raw", "interactions"])}


def test_it_has_a_place_in_the_next_release(settings: Settings, shop: Warehouse) -> None:
    shop.replace_partition(
        USER_SEGMENTS,
        DAYS[0],
        "select 'u1' as user_id, 'unknown' as age_bracket, 'unknown' as gender, "
        "'unknown' as location",
    )
    shop.replace_partition(
        ITEM_STATE,
        DAYS[0],
        "select 'i' as item_id, 'i' as title, 'c' as category, 1.0 as price, "
        "false as is_excluded, true as available",
    )
    _materialize(settings, DAYS[0], extra=(release_asset([toy], PARTITIONS),))
    with Lookup(settings) as lookup:
        (row,) = lookup.rows("toy", user_id="u3")
    assert row["twice"] == 8


def test_a_run_that_is_killed_in_mid_score_goes_on_where_it_was(
    settings: Settings, shop: Warehouse, tmp_path: Path
) -> None:
    """The killed process scores two shards a moment apart; the next run scores the rest alone."""
    script = textwrap.dedent(f"""
        import sys, time
        sys.path[:0] = [{str(ROOT)!r}]
        import batch_predictions_tests.inference.test_a_toy_prediction as t
        from batch_predictions.settings import InferenceSettings, Settings
        from pathlib import Path
        plain = t.ToyScorer.score
        def slow(self, rows):
            if rows["user_id"][0].as_py() > "u4":
                time.sleep(60)
            return plain(self, rows)
        t.ToyScorer.score = slow
        t.declare(t.TOY)
        settings = Settings(home=Path({str(settings.home)!r}))
        settings.inference = InferenceSettings(shard_rows=3, device="cpu", workers=1)
        t._materialize(settings, {DAYS[0]!r})
    """)
    # The child's partitions are its home's, which has the tests' state.
    env = {**os.environ, "BATCH_PREDICTIONS_HOME": str(settings.home)}
    child = subprocess.Popen([sys.executable, "-c", script], env=env, cwd=tmp_path)
    results = settings.home / "inference" / "toy" / DAYS[0] / "results"
    while child.poll() is None and len(list(results.glob("[0-9a-f]*.parquet"))) < 2:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in results.glob("[0-9a-f]*.parquet")}
    assert len(kept) == 2 and not shop.path(TOY, DAYS[0]).exists()
    _materialize(settings, DAYS[0])
    assert {n: (results / n).stat().st_mtime_ns for n in kept} == kept
    assert _rows(shop, DAYS[0]) == {f"u{n}": 2 * (n + 1) for n in range(10)}


@pytest.mark.parametrize(("declared", "sizes"), [(1, [3, 3, 3, 2]), (8, [8, 3]), (2, [3, 3, 3, 2])])
def test_a_declaration_may_ask_for_larger_shards(
    shop: Warehouse, settings: Settings, declared: int, sizes: list[int]
) -> None:
    """The setting is 3: the larger of the two holds."""
    path = stage_partition(
        replace(toy, shard_rows=declared), DAYS[0], shop, ModelStore.of(settings), settings
    )
    assert [shard.rows for shard in StagingManifest.read(path).shards] == sizes


def test_the_declaration_is_short() -> None:
    """Some 20 lines beside the table and the scorer, as the guide promises."""
    text = Path(__file__).read_text(encoding="utf-8")
    declaration = text[text.index("toy = BatchPrediction(") : text.index("# --- what it gets")]
    assert len(declaration.strip().splitlines()) <= 20
