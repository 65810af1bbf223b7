"""Planted worlds: demographics that matter are found, and where they do not, popularity serves."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from batch_predictions.models.common.bootstrap import Interval
from batch_predictions.models.demographic import evaluation as demographic_evaluation
from batch_predictions.models.demographic.evaluation import ColdStartEvaluation
from batch_predictions.models.demographic.model import CountAdjustment
from batch_predictions.models.demographic.ridge_fit import RidgeFit
from batch_predictions.models.demographic.segments import SegmentAdjustment, SegmentUsers
from batch_predictions.models.demographic.selection import (
    HALF_LIVES,
    RIDGE,
    SEGMENTS,
    DemographicSelection,
    _serves,
    select_demographic,
)
from batch_predictions.models.demographic.statistics import Candidate, SegmentStatistics
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions_tests.worlds.paths import MOVIELENS, ROOT

THROUGH = date(2024, 3, 31)


def world(
    tilt: bool, one_day: bool = False, users: int = 120, seed: int = 0
) -> tuple[pa.Table, pa.Table]:
    """Young and old users of one taste, or of two where `tilt`; 10 rows each over 30 days."""
    random = np.random.default_rng(seed)
    rows: dict[str, list[object]] = {"user_id": [], "item_id": [], "date": [], "events": []}
    for user in range(users):
        for _ in range(10):
            item = min(int(random.geometric(0.25)), 15) + (20 * (user % 2) if tilt else 0)
            rows["user_id"].append(f"u{user:03}")
            rows["item_id"].append(f"i{item:02}")
            rows["date"].append(
                THROUGH if one_day else THROUGH - timedelta(days=int(random.integers(30)))
            )
            rows["events"].append(1)
    traits = pa.table(
        {
            "user_id": [f"u{user:03}" for user in range(users)],
            "age_bracket": ["19-24" if user % 2 else "65+" for user in range(users)],
            "gender": pa.array([None] * users, pa.string()),
            "location": ["here" if user % 3 else "there" for user in range(users)],
        }
    )
    return pa.table(rows), traits


def values(selection: DemographicSelection, metric: str) -> dict[str, float]:
    found = [row for row in selection.metrics if row["metric"] == metric]
    return {str(row["candidate"]): float(row["value"] or 0.0) for row in found}


@pytest.mark.parametrize("one_day", [False, True])
def test_age_is_used_where_it_matters(one_day: bool):
    rows, traits = world(tilt=True, one_day=one_day)
    selection = select_demographic(rows, traits, THROUGH, seed=0)
    assert selection.model.tilted and selection.candidate in (SEGMENTS, RIDGE)
    assert selection.split == ("leave_out" if one_day else "time")
    ndcg, gain = values(selection, "ndcg@10"), values(selection, "ndcg@10_gain")
    recent = {f"recency_popularity_{days}d" for days in HALF_LIVES}
    assert set(ndcg) == {"popularity", *recent, SEGMENTS, RIDGE}
    assert set(gain) == {SEGMENTS, RIDGE} and min(gain.values()) > 0.1
    assert set(values(selection, "ndcg@10_gain_over_popularity")) == {*recent, SEGMENTS, RIDGE}
    assert ndcg[selection.candidate] == max(ndcg.values()) > ndcg["popularity"] + 0.1
    assert f"{selection.candidate} serves" in selection.why
    assert select_demographic(rows, traits, THROUGH, seed=0) == selection


def test_both_tilts_offer_the_young_what_the_young_want():
    rows, traits = world(tilt=True)
    selection = select_demographic(rows, traits, THROUGH, seed=0)
    counts = pa.table(
        {
            "age_bracket": ["19-24", "65+"],
            "gender": ["unknown"] * 2,
            "location": ["here"] * 2,
            "item_id": ["i21", "i01"],
            "weight": [100.0, 110.0],
        }
    )
    users = counts.select(["age_bracket", "gender", "location"]).append_column(
        "users", pa.array([60, 60])
    )
    wanted = pa.table(
        {
            "segment_level": ["age", "age", "everyone"],
            "age_bracket": ["19-24", "65+", None],
            "gender": pa.array([None] * 3, pa.string()),
            "location": pa.array([None] * 3, pa.string()),
        }
    )
    for name in (RIDGE, SEGMENTS):
        lists = selection.models[name].ranker(counts, users).top_k(wanted, 1)
        # Few events against kappa: counts of one day need not turn the order, the regression does.
        if name == RIDGE:
            assert lists["item_id"].to_pylist() == ["i21", "i01", "i01"]
        assert lists["item_id"].to_pylist()[1:] == ["i01", "i01"]


@pytest.mark.parametrize("seed", range(4))
def test_where_demographics_do_not_matter_popularity_serves(seed: int):
    rows, traits = world(tilt=False, seed=seed)
    selection = select_demographic(rows, traits, THROUGH, seed=0)
    assert not selection.model.tilted
    assert selection.candidate == f"recency_popularity_{selection.model.half_life_days:g}d"
    assert "One list serves everyone" in selection.why


def test_the_regression_serves_where_it_matters_unless_users_are_surely_worse_off():
    users = SegmentUsers([("19-24", "f", "x"), ("65+", "f", "x")], np.array([20, 20]))
    fit = RidgeFit(users, pa.array(["tea"]), csr_matrix([[9.0], [2.0]]), places=False)
    random = np.random.default_rng(0).normal(size=400)
    noise = (random - random.mean()) / random.std()
    for tilt, shift, serves in [
        (fit.tilt(10.0), -1.0, True),
        (fit.tilt(10.0), -3.0, False),
        (fit.tilt(math.inf), 3.0, False),
        (CountAdjustment(300.0), 0.5, False),
        (CountAdjustment(300.0), 1.5, True),
    ]:
        # So many standard errors of the mean of 400.
        differences = noise + shift / 20
        gain = Interval(float(differences.mean()), -1.0, 1.0, 400)
        assert _serves(tilt, gain, differences) == serves
    assert not _serves(fit.tilt(10.0), Interval(1.0, 1.0, 1.0, 1), np.ones(1))


def test_without_demographics_everyones_list_serves():
    rows, traits = world(tilt=False)
    selection = select_demographic(rows, traits.slice(0, 0), THROUGH, seed=0)
    assert not selection.model.tilted and "no demographics" in selection.why
    assert not {SEGMENTS, RIDGE} & set(values(selection, "ndcg@10"))


@pytest.mark.parametrize("rows", [0, 1, 2, 12])
@pytest.mark.parametrize("one_day", [False, True])
def test_tiny_data_is_enough(rows: int, one_day: bool):
    table, traits = world(tilt=True, one_day=one_day)
    selection = select_demographic(table.slice(0, rows), traits, THROUGH, seed=0)
    assert selection.why.endswith(".")
    assert selection.model.half_life_days in HALF_LIVES


def test_the_order_of_rows_does_not_change_a_bit():
    rows, traits = world(tilt=True)
    shuffled = rows.take(np.random.default_rng(1).permutation(rows.num_rows))
    one = select_demographic(rows, traits, THROUGH, seed=0)
    assert select_demographic(shuffled, traits, THROUGH, seed=0) == one


def learned_by_fold(
    monkeypatch: pytest.MonkeyPatch, rows: pa.Table, traits: pa.Table
) -> tuple[ColdStartEvaluation, list[tuple[list[str], list[float], list[float]]]]:
    """What the evaluation learned for each fold: items, everyone's shares, the regression."""
    trial = ColdStartEvaluation(
        Interactions.from_table(rows),
        traits,
        THROUGH,
        holdout_days=7,
        windows=1,
        window_days=None,
        seed=0,
        min_users=10,
    )
    seen: list[tuple[list[str], list[float], list[float]]] = []

    class Watched(SegmentStatistics):
        def tilt(self, candidate: Candidate) -> SegmentAdjustment:
            effects = self.ridge().effects
            seen.append(
                (self.items.to_pylist(), self.counts.shares().tolist(), effects.ravel().tolist())
            )
            return super().tilt(candidate)

    monkeypatch.setattr(demographic_evaluation, "SegmentStatistics", Watched)
    trial.tilts(30.0, [Candidate("ridge")])
    return trial, seen


def test_nothing_is_learned_from_held_out_users_or_from_after_the_cut(
    monkeypatch: pytest.MonkeyPatch,
):
    """Other histories of the first fold's users, and other answers of all, change nothing there."""
    rows, traits = world(tilt=True)
    trial, before = learned_by_fold(monkeypatch, rows, traits)
    known = trial.known
    held_out = set(known.user_ids.take(pa.array(np.flatnonzero(trial.fold == 0))).to_pylist())
    cut = trial.windows[0].cut
    table = rows.to_pylist()
    for row in table:
        if row["user_id"] in held_out or row["date"] > cut:
            row["item_id"] = "i01"
    _, after = learned_by_fold(monkeypatch, pa.Table.from_pylist(table), traits)
    assert len(before) == len(after) == trial.folds == 5
    assert before[0] == after[0]
    assert all(one != other for one, other in zip(before[1:], after[1:], strict=True))


@pytest.mark.real_data
def test_movielens_newcomers_are_served_better_than_by_popularity():
    if not MOVIELENS.is_dir():
        pytest.skip(f"{MOVIELENS} is not beside this checkout")
    script = [sys.executable, "benchmarks/cold_start.py", "movielens", str(MOVIELENS)]
    done = subprocess.run(
        [*script, "--split", "random"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    answer = json.loads(done.stdout)
    gain = answer["candidates"]["fallback"]["over_popularity"]
    assert answer["users_held_out"] == 943
    assert gain["mean_percent"] >= 5.6 and gain["lower_percent"] > 3.0
