"""Churn: windows in the order of time, measures with known answers, planted hazards found."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from batch_predictions.models.churn.calibration import ProbabilityCalibration
from batch_predictions.models.churn.features import EVERYTHING, ChurnFeatures
from batch_predictions.models.churn.metrics import (
    AUC,
    BRIER,
    ECE,
    LIFT,
    PRECISION,
    EvaluatedModel,
    PairedComparison,
)
from batch_predictions.models.churn.model import ChurnModel
from batch_predictions.models.churn.plots import calibration as calibration_plot
from batch_predictions.models.churn.selection import (
    BASELINES,
    CANDIDATES,
    GAIN,
    UNTRAINED,
    ChurnSelection,
    ChurnTrainingConfig,
    calibrated,
    fit,
    select_churn,
)
from batch_predictions.models.churn.windows import Examples, windows

THROUGH = dt.date(2024, 9, 29)
FIRST = dt.date(2024, 1, 1)


def customers(seed: int, number: int = 1500, told_by: str = "spend_trend") -> Examples:
    """Customers who go by a hazard that one column tells, and recency a little."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        name: random.gamma(2, 3, number)
        for name in EVERYTHING
        if name not in ("age", "spend_trend", "visit_trend")
    }
    columns["spend_trend"], columns["visit_trend"] = random.normal(size=(2, number))
    columns["user_id"] = [f"u{n:05d}" for n in range(number)]
    columns["age_bracket"] = random.choice(["25-34", "unknown"], number)
    columns["gender"] = random.choice(["f", "m", "unknown"], number)
    columns["gap_sd"] = np.where(random.random(number) < 0.1, np.nan, columns["gap_sd"])
    rows = pa.table(columns)
    told = np.log1p(rows[told_by].to_numpy()) if told_by != "spend_trend" else columns[told_by]
    known = (told - told.mean()) / told.std()
    logit = -2.0 - 2.0 * known + 0.1 * rows["days_inactive"].to_numpy()
    return Examples(rows, (random.random(number) < 1 / (1 + np.exp(-logit))).astype(np.float64))


def of_day(day: dt.date) -> Examples:
    return customers(day.toordinal())


@pytest.fixture(scope="module")
def selection() -> ChurnSelection:
    return select_churn(of_day, FIRST, THROUGH, ChurnTrainingConfig(cutoffs=3))


@given(
    horizon=st.integers(1, 40),
    step=st.integers(1, 40),
    most=st.integers(1, 10),
    days=st.integers(1, 400),
    judged=st.booleans(),
)
@budget(max_examples=200, deadline=None)
def test_no_window_is_seen_before_its_outcomes_are_over(
    horizon: int, step: int, most: int, days: int, judged: bool
) -> None:
    first = THROUGH - dt.timedelta(days=days)
    found = windows(THROUGH, first, horizon, judged=judged, step=step, most=most)
    after = dt.timedelta(days=horizon)
    if found is None:
        assert days < (3 + judged) * horizon
        return
    assert 1 <= len(found.fit) <= most
    assert max(found.fit) + after <= found.calibrate
    assert len(found.judge) == judged
    for day in found.judge:
        assert found.calibrate + after <= day
    assert max(found.days) + after == THROUGH
    assert min(found.fit) >= first + dt.timedelta(days=horizon - 1)


def test_what_serves_learns_from_later_windows_than_what_was_judged() -> None:
    contest = windows(THROUGH, FIRST, 28, judged=True, step=14, most=3)
    serving = windows(THROUGH, FIRST, 28, judged=False, step=14, most=3)
    assert contest and serving
    assert serving.calibrate == contest.judge[0]
    assert max(serving.fit) == max(contest.fit) + dt.timedelta(days=28)


def test_measures_are_those_of_scikit_learn_ties_included() -> None:
    from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

    random = np.random.default_rng(3)
    said = random.integers(0, 12, 400) / 12
    churned = (random.random(400) < said).astype(float)
    weights = np.stack([np.ones(400), random.integers(0, 4, 400).astype(float)])
    found = EvaluatedModel(churned, said).measure(weights)
    for n, each in enumerate(weights):
        assert found[AUC][n] == pytest.approx(roc_auc_score(churned, said, sample_weight=each))
        assert found[PRECISION][n] == pytest.approx(
            average_precision_score(churned, said, sample_weight=each)
        )
        assert found[BRIER][n] == pytest.approx(brier_score_loss(churned, said, sample_weight=each))


def test_lift_and_calibration_error_on_fingers() -> None:
    # 20 customers; the first two churned, and two others of 18: a tenth holds 2 of 4.
    churned = np.array([1.0, 1.0, *[0.0] * 16, 1.0, 1.0])
    said = np.linspace(0.95, 0.0, 20)
    found = EvaluatedModel(churned, said).measure(np.ones((1, 20)))
    assert found[LIFT][0] == pytest.approx((2 / 4) / 0.1)
    pairs = np.abs((said - churned).reshape(10, 2).sum(axis=1)).sum() / 20
    assert found[ECE][0] == pytest.approx(pairs)
    everyone = EvaluatedModel(churned, np.full(20, 0.5)).measure(np.ones((1, 20)))
    assert everyone[LIFT][0] == pytest.approx(1.0) and everyone[AUC][0] == pytest.approx(0.5)
    assert everyone[ECE][0] == pytest.approx(0.3)


def test_differences_are_paired_and_intervals_hold_their_value() -> None:
    examples = customers(1, 400)
    said = 1 / (1 + np.exp(examples.rows["spend_trend"].to_numpy() + 2))
    contest = PairedComparison(examples.churned, np.arange(400), seed=1)
    found = contest.evaluate("one", said)
    contest.evaluate("same order", said / 2)
    assert all(each.lower <= each.mean <= each.upper for each in found.values())
    gap = contest.gain("one", "same order")
    assert (gap.mean, gap.lower, gap.upper) == (0.0, 0.0, 0.0)


def test_customers_of_several_windows_are_resampled_whole() -> None:
    churned = np.array([1.0, 0.0] * 50)
    said = np.where(churned > 0, 0.8, 0.2)
    said[::10] = 0.5
    apart = PairedComparison(churned, np.arange(100), 1).evaluate("x", said)[BRIER]
    twins = PairedComparison(np.tile(churned, 4), np.tile(np.arange(100), 4), 1)
    together = twins.evaluate("x", np.tile(said, 4))[BRIER]
    assert together.upper - together.lower == pytest.approx(apart.upper - apart.lower, rel=0.2)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_makes_overconfident_margins_true(method: Any) -> None:
    random = np.random.default_rng(5)
    truth = random.normal(-2, 1.2, 6000)
    churned = (random.random(6000) < 1 / (1 + np.exp(-truth))).astype(float)
    margins = 3 * truth + 4
    fitted = ProbabilityCalibration.fit(method, margins[:3000], churned[:3000])
    said = fitted.probabilities(margins[3000:])
    error = EvaluatedModel(churned[3000:], said).measure(np.ones((1, 3000)))[ECE][0]
    raw = EvaluatedModel(churned[3000:], 1 / (1 + np.exp(-margins[3000:])))
    assert error < 0.02 < raw.measure(np.ones((1, 3000)))[ECE][0]
    order = np.argsort(margins[3000:])
    assert (np.diff(said[order]) >= 0).all() and said.min() > 0 and said.max() < 1


def test_a_planted_hazard_is_found_and_recency_alone_is_beaten(
    selection: ChurnSelection,
) -> None:
    assert selection.beats_baseline and selection.chosen in CANDIDATES
    rows = {(row["candidate"], row["metric"]): row for row in selection.metrics}
    assert {name for name, _ in rows} == {*BASELINES, *CANDIDATES}
    reached, floor = (
        float(rows[name, AUC]["value"] or 0) for name in (selection.chosen, "recency")
    )
    assert reached > 0.8 > 0.65 > floor
    assert float(rows[selection.chosen, GAIN]["lower"] or 0) > 0
    assert float(rows[selection.chosen, ECE]["value"] or 1) < 0.04
    assert "AUC" in selection.why and selection.outcomes is not None
    assert calibration_plot(*selection.outcomes, "planted") is not None


def test_candidates_that_know_no_more_than_the_rhythm_do_not_serve() -> None:
    found = select_churn(
        lambda day: customers(day.toordinal(), 600, told_by="overdue"),
        FIRST,
        THROUGH,
        ChurnTrainingConfig(cutoffs=2),
    )
    assert not found.beats_baseline and found.chosen == "rhythm"
    assert "no candidate is surely better" in found.why


def test_a_stored_model_gives_the_same_bits_in_any_batch(
    selection: ChurnSelection, tmp_path: Path
) -> None:
    examples = customers(77, 300)
    for name, margin in fit(customers(5, 800), 7).items():
        model = calibrated(margin, customers(6, 800), "isotonic" if name == "lightgbm" else "platt")
        folder = tmp_path / name
        folder.mkdir()
        model.save(folder)
        files = {path.suffix for path in folder.iterdir()}
        assert files <= {".json", ".npy", ".txt"}
        again = ChurnModel.load(folder)
        whole = model.probabilities(examples.rows)
        parts = [
            again.probabilities(examples.rows.slice(n, size))
            for n, size in ((0, 1), (1, 7), (8, 292))
        ]
        assert whole.tobytes() == np.concatenate(parts).tobytes()
    assert again.probabilities(examples.rows.slice(0, 0)).shape == (0,)


def test_training_twice_gives_the_same_model(selection: ChurnSelection, tmp_path: Path) -> None:
    again = select_churn(of_day, FIRST, THROUGH, ChurnTrainingConfig(cutoffs=3))
    assert again.metrics == selection.metrics
    for name, one in (("a", selection), ("b", again)):
        (tmp_path / name).mkdir()
        one.model.save(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("first", "least", "what"),
    [
        (None, 20, "112 days"),
        (THROUGH - dt.timedelta(days=90), 20, "112 days"),
        (FIRST, 5000, "min_churned"),
    ],
)
def test_where_nothing_can_be_learned_it_says_so(
    first: dt.date | None, least: int, what: str, tmp_path: Path
) -> None:
    found = select_churn(of_day, first, THROUGH, ChurnTrainingConfig(cutoffs=1, min_churned=least))
    assert (found.chosen, found.metrics) == (UNTRAINED, []) and what in found.why
    found.model.save(tmp_path)
    assert ChurnModel.load(tmp_path).unserved_reason == found.why


def test_genders_are_columns_only_where_they_tell_customers_apart() -> None:
    rows = customers(1, 50).rows
    assert set(ChurnFeatures.of(EVERYTHING, rows).genders) == {"f", "m"}
    unknown = rows.set_column(
        rows.column_names.index("gender"), "gender", pa.array(["unknown"] * 50)
    )
    assert ChurnFeatures.of(EVERYTHING, unknown).genders == ()
    assert ChurnFeatures.of(("days_inactive",), rows).names == ["days_inactive"]
