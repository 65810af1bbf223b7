"""Churn models: cut-offs in the order of time, known metrics, a planted hazard is found."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.churn.base import baseline_names, candidate_names, estimator_specs
from batch_predictions.models.churn.churn_metrics import (
    AUC,
    AVERAGE_PRECISION,
    BRIER,
    ECE,
    LIFT,
    LOG_LOSS,
    EvaluatedModel,
    PairedComparison,
    plot_calibration,
)
from batch_predictions.models.churn.churn_model import (
    ChurnModel,
    EstimatorTrainer,
)
from batch_predictions.models.churn.churn_selection import (
    GAIN,
    UNTRAINED,
    ChurnSelection,
    _decide,
    select_churn,
    training_windows,
)
from batch_predictions.models.churn.data.churn_examples import Examples
from batch_predictions.models.churn.data.churn_features import ALL_COLUMNS, ChurnFeatures
from batch_predictions.models.common.calibration import ProbabilityCalibration
from batch_predictions.settings import ChurnSettings
from batch_predictions_tests.worlds.churn import make_examples

THROUGH = dt.date(2024, 9, 29)
FIRST = dt.date(2024, 1, 1)


def examples_as_of(day: dt.date) -> Examples:
    return make_examples(day.toordinal())


@pytest.fixture(scope="module")
def selection() -> ChurnSelection:
    return select_churn(examples_as_of, FIRST, THROUGH, ChurnSettings(cutoffs=3))


@given(
    horizon_days=st.integers(1, 40),
    step_days=st.integers(1, 40),
    max_cutoffs=st.integers(1, 10),
    history_days=st.integers(1, 400),
    with_test=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_the_outcomes_of_a_cutoff_end_before_the_next_use(
    horizon_days: int, step_days: int, max_cutoffs: int, history_days: int, with_test: bool
) -> None:
    first = THROUGH - dt.timedelta(days=history_days)
    config = ChurnSettings(horizon_days=horizon_days, step_days=step_days, cutoffs=max_cutoffs)
    windows = training_windows(config, first, THROUGH, with_test=with_test)
    horizon = dt.timedelta(days=horizon_days)
    if windows is None:
        assert history_days < (3 + with_test) * horizon_days
        return
    assert 1 <= len(windows.fit_days) <= max_cutoffs
    assert max(windows.fit_days) + horizon <= windows.calibration_day
    assert (windows.test_day is not None) == with_test
    if windows.test_day is not None:
        assert windows.calibration_day + horizon <= windows.test_day
    assert max(windows.days) + horizon == THROUGH
    assert min(windows.fit_days) >= first + dt.timedelta(days=horizon_days - 1)


def test_the_serving_model_uses_cutoffs_one_horizon_later_than_the_comparison() -> None:
    config = ChurnSettings(step_days=14, cutoffs=3)
    comparison = training_windows(config, FIRST, THROUGH, with_test=True)
    serving = training_windows(config, FIRST, THROUGH, with_test=False)
    assert comparison and serving
    assert serving.calibration_day == comparison.test_day
    assert max(serving.fit_days) == max(comparison.fit_days) + dt.timedelta(days=28)


def test_metrics_equal_those_of_scikit_learn_with_ties() -> None:
    from sklearn.metrics import (
        average_precision_score,
        brier_score_loss,
        log_loss,
        roc_auc_score,
    )

    random = np.random.default_rng(3)
    predicted = random.integers(0, 12, 400) / 12
    churned = (random.random(400) < predicted).astype(float)
    weights = np.stack([np.ones(400), random.integers(0, 4, 400).astype(float)])
    metrics = EvaluatedModel(churned, predicted).compute_metrics(weights)
    references = {
        AUC: roc_auc_score,
        AVERAGE_PRECISION: average_precision_score,
        BRIER: brier_score_loss,
        LOG_LOSS: log_loss,
    }
    for sample, sample_weight in enumerate(weights):
        for metric, reference in references.items():
            expected = reference(churned, predicted, sample_weight=sample_weight)
            assert metrics[metric][sample] == pytest.approx(expected)


def test_lift_and_calibration_error_of_twenty_customers() -> None:
    # The first two of 20 customers churned, and two others: the top tenth has 2 of 4.
    churned = np.array([1.0, 1.0, *[0.0] * 16, 1.0, 1.0])
    predicted = np.linspace(0.95, 0.0, 20)
    metrics = EvaluatedModel(churned, predicted).compute_metrics(np.ones((1, 20)))
    assert metrics[LIFT][0] == pytest.approx((2 / 4) / 0.1)
    bin_errors = np.abs((predicted - churned).reshape(10, 2).sum(axis=1)).sum() / 20
    assert metrics[ECE][0] == pytest.approx(bin_errors)
    ties = EvaluatedModel(churned, np.full(20, 0.5)).compute_metrics(np.ones((1, 20)))
    assert ties[LIFT][0] == pytest.approx(1.0) and ties[AUC][0] == pytest.approx(0.5)
    assert ties[ECE][0] == pytest.approx(0.3)


def test_differences_are_paired_and_intervals_contain_the_value() -> None:
    examples = make_examples(1, 400)
    predicted = 1 / (1 + np.exp(examples.rows["spend_trend"].to_numpy() + 2))
    comparison = PairedComparison(examples.churned, np.arange(400), seed=1)
    metrics = comparison.evaluate("original", predicted)
    comparison.evaluate("same order", predicted / 2)
    assert all(interval.lower <= interval.mean <= interval.upper for interval in metrics.values())
    difference = comparison.difference("original", "same order", AUC)
    assert (difference.mean, difference.lower, difference.upper) == (0.0, 0.0, 0.0)
    assert comparison.difference("original", "same order", LOG_LOSS).mean != 0


def test_customers_of_several_days_are_resampled_with_all_their_rows() -> None:
    churned = np.array([1.0, 0.0] * 50)
    predicted = np.where(churned > 0, 0.8, 0.2)
    predicted[::10] = 0.5
    customers = np.arange(100)
    single = PairedComparison(churned, customers, 1).evaluate("x", predicted)[BRIER]
    repeated = PairedComparison(np.tile(churned, 4), np.tile(customers, 4), 1)
    fourfold = repeated.evaluate("x", np.tile(predicted, 4))[BRIER]
    assert fourfold.upper - fourfold.lower == pytest.approx(single.upper - single.lower, rel=0.2)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_corrects_overconfident_scores(method: Any) -> None:
    random = np.random.default_rng(5)
    log_odds = random.normal(-2, 1.2, 6000)
    churned = (random.random(6000) < 1 / (1 + np.exp(-log_odds))).astype(float)
    scores = 3 * log_odds + 4
    calibration = ProbabilityCalibration.fit(method, scores[:3000], churned[:3000])
    calibrated = calibration.probabilities(scores[3000:])
    uncalibrated = 1 / (1 + np.exp(-scores[3000:]))
    errors = [
        EvaluatedModel(churned[3000:], probabilities).compute_metrics(np.ones((1, 3000)))[ECE][0]
        for probabilities in (calibrated, uncalibrated)
    ]
    assert errors[0] < 0.02 < errors[1]
    order = np.argsort(scores[3000:])
    assert (np.diff(calibrated[order]) >= 0).all()
    assert calibrated.min() > 0 and calibrated.max() < 1


def test_a_planted_hazard_is_found_and_the_recency_baseline_is_beaten(
    selection: ChurnSelection,
) -> None:
    assert selection.beats_baseline and selection.candidate in candidate_names()
    rows = {(row["candidate"], row["metric"]): row for row in selection.metrics}
    assert {name for name, _ in rows} == {*baseline_names(), *candidate_names()}
    auc, recency_auc = (
        float(rows[name, AUC]["value"] or 0) for name in (selection.candidate, "recency")
    )
    assert auc > 0.8 > 0.65 > recency_auc
    assert float(rows[selection.candidate, GAIN]["lower"] or 0) > 0
    assert float(rows[selection.candidate, ECE]["value"] or 1) < 0.04
    assert "log loss" in selection.why and "AUC" in selection.why
    assert selection.outcomes is not None
    assert plot_calibration(*selection.outcomes, "planted") is not None


def test_candidates_without_an_advantage_over_the_interpurchase_baseline_do_not_serve() -> None:
    selection = select_churn(
        lambda day: make_examples(day.toordinal(), 600, feature="overdue"),
        FIRST,
        THROUGH,
        ChurnSettings(cutoffs=2),
    )
    assert not selection.beats_baseline and selection.candidate == "rhythm"
    assert "no candidate is significantly better" in selection.why


def test_where_nothing_tells_who_churns_the_base_rate_serves() -> None:
    selection = select_churn(
        lambda day: make_examples(day.toordinal(), 600, feature=None),
        FIRST,
        THROUGH,
        ChurnSettings(cutoffs=2),
    )
    assert not selection.beats_baseline and selection.candidate == "base_rate"
    assert "log loss" in selection.why
    probabilities = selection.model.probabilities(make_examples(1, 5, feature=None).rows)
    assert len(set(probabilities.tolist())) == 1 and 0.05 < probabilities[0] < 0.3


def test_a_candidate_that_ranks_better_and_is_miscalibrated_does_not_pass() -> None:
    """The AUC of both is the same whatever the calibration; the log loss is not."""
    random = np.random.default_rng(4)
    log_odds = random.normal(-2, 1, 4000)
    churned = (random.random(4000) < 1 / (1 + np.exp(-log_odds))).astype(float)
    comparison = PairedComparison(churned, np.arange(4000), seed=1)
    for name in baseline_names():
        comparison.evaluate(name, np.full(4000, churned.mean()))
    for name in candidate_names():
        log_odds_of_name = 4 * log_odds if name == "logistic" else log_odds
        comparison.evaluate(name, 1 / (1 + np.exp(-log_odds_of_name)))
    decision = _decide(comparison)
    assert decision.baseline == "base_rate" and decision.winner != "logistic"
    assert decision.winner is not None and decision.gains["logistic"].upper < 0
    assert decision.auc_gains["logistic"] == decision.auc_gains[decision.winner]


def test_a_stored_model_gives_equal_bits_in_any_batch(tmp_path: Path) -> None:
    rows = make_examples(77, 300).rows
    trainer = EstimatorTrainer(make_examples(5, 800), 7)
    for name in estimator_specs():
        method: Any = "isotonic" if name == "lightgbm" else "platt"
        model = ChurnModel.calibrate(trainer.fit(name), make_examples(6, 800), method)
        folder = tmp_path / name
        folder.mkdir()
        model.save(folder)
        suffixes = {path.suffix for path in folder.iterdir()}
        assert suffixes <= {".json", ".npy", ".txt"}
        loaded = ChurnModel.load(folder)
        batches = [
            loaded.probabilities(rows.slice(start, size))
            for start, size in ((0, 1), (1, 7), (8, 292))
        ]
        assert model.probabilities(rows).tobytes() == np.concatenate(batches).tobytes()
        assert loaded.probabilities(rows.slice(0, 0)).shape == (0,)


def test_training_twice_gives_equal_models(selection: ChurnSelection, tmp_path: Path) -> None:
    repeated = select_churn(examples_as_of, FIRST, THROUGH, ChurnSettings(cutoffs=3))
    assert repeated.metrics == selection.metrics
    for name, result in (("first", selection), ("second", repeated)):
        (tmp_path / name).mkdir()
        result.model.save(tmp_path / name)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("first", "min_churned", "reason"),
    [
        (None, 20, "there are no purchases"),
        (THROUGH - dt.timedelta(days=90), 20, "112 days"),
        (FIRST, 5000, "min_churned"),
    ],
)
def test_without_enough_data_no_model_is_trained_and_the_reason_is_stored(
    first: dt.date | None, min_churned: int, reason: str, tmp_path: Path
) -> None:
    config = ChurnSettings(cutoffs=1, min_churned=min_churned)
    selection = select_churn(examples_as_of, first, THROUGH, config)
    assert (selection.candidate, selection.metrics) == (UNTRAINED, []) and reason in selection.why
    selection.model.save(tmp_path)
    assert ChurnModel.load(tmp_path).unserved_reason == selection.why


def test_genders_are_features_only_where_some_are_known() -> None:
    rows = make_examples(1, 50).rows
    assert set(ChurnFeatures.fit(ALL_COLUMNS, rows).genders) == {"f", "m"}
    unknown = rows.set_column(
        rows.column_names.index("gender"), "gender", pa.array(["unknown"] * 50)
    )
    assert ChurnFeatures.fit(ALL_COLUMNS, unknown).genders == ()
    assert ChurnFeatures.fit(("days_inactive",), rows).names == ["days_inactive"]
