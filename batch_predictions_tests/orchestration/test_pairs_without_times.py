"""User and item pairs without times, through `files`: trained, evaluated, everybody is served."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.programs import run_python
from batch_predictions_tests.worlds.retail_fixtures import environment, run_json

pytestmark = pytest.mark.slow

USERS, ITEMS, PAIRS = 300, 400, 6_000


def test_pairs_without_times_give_every_user_a_list_of_20(tmp_path: Path) -> None:
    source, home = tmp_path / "source", tmp_path / "home"
    options = [f"--users={USERS}", f"--items={ITEMS}", f"--pairs={PAIRS}"]
    run_python(str(ROOT / "benchmarks" / "generate_interactions.py"), str(source), *options)
    pairs = pq.read_table(source / "interactions.parquet")
    assert pairs.column_names == ["user_id", "item_id"] and pairs.num_rows == PAIRS
    env = environment(
        home,
        source,
        BATCH_PREDICTIONS_RECOMMENDATIONS__K="20",
        BATCH_PREDICTIONS_SOURCE__DEFAULT_DATE=str(dt.date(2024, 3, 17)),
    )
    summary = run_json("run", env=env, cwd=tmp_path)
    assert summary["rows"]["recommendations"] == USERS * 20
    (trained,) = (t for t in summary["trained"] if t["model"] == "recommender")
    assert "items held out at random (rows have no times, or one day)" in trained["why"]
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as db:
        db.register("pairs", pairs)
        lists = db.sql(
            "select count(distinct user_id), max(rank) from predictions.recommendations"
        ).fetchall()
        history_items = db.sql(
            "select count(*) from predictions.recommendations join pairs using (user_id, item_id)"
        ).fetchall()
        figures = db.sql(
            "select candidate, value from evaluation.model_metrics "
            "where model = 'recommender' and metric = 'ndcg@10'"
        ).fetchall()
    assert lists == [(USERS, 20)] and history_items == [(0,)]
    # Taste was planted: something personal is well above popularity.
    ndcg = dict(figures)
    assert max(ndcg.values()) > 1.15 * ndcg["popularity"] > 0
