"""Metrics of probabilities, compared with scikit-learn's and by hand; calibration."""

from __future__ import annotations

import numpy as np
import pytest

from batch_predictions.models.common.calibration import PlattCalibration
from batch_predictions.models.common.probability_metrics import (
    AUC,
    AVERAGE_PRECISION,
    BRIER,
    ECE,
    LIFT,
    LOG_LOSS,
    EvaluatedModel,
    PairedComparison,
)


def test_metrics_equal_those_of_scikit_learn_with_ties() -> None:
    from sklearn.metrics import (
        average_precision_score,
        brier_score_loss,
        log_loss,
        roc_auc_score,
    )

    random = np.random.default_rng(3)
    predicted = random.integers(0, 12, 400) / 12
    outcomes = (random.random(400) < predicted).astype(float)
    weights = np.stack([np.ones(400), random.integers(0, 4, 400).astype(float)])
    metrics = EvaluatedModel(outcomes, predicted).compute_metrics(weights)
    references = {
        AUC: roc_auc_score,
        AVERAGE_PRECISION: average_precision_score,
        BRIER: brier_score_loss,
        LOG_LOSS: log_loss,
    }
    for sample, sample_weight in enumerate(weights):
        for metric, reference in references.items():
            expected = reference(outcomes, predicted, sample_weight=sample_weight)
            assert metrics[metric][sample] == pytest.approx(expected)


def test_lift_and_calibration_error_of_twenty_rows() -> None:
    # The first two of 20 rows are positive, and the last two: the top tenth has 2 of 4.
    outcomes = np.array([1.0, 1.0, *[0.0] * 16, 1.0, 1.0])
    predicted = np.linspace(0.95, 0.0, 20)
    metrics = EvaluatedModel(outcomes, predicted).compute_metrics(np.ones((1, 20)))
    assert metrics[LIFT][0] == pytest.approx((2 / 4) / 0.1)
    bin_errors = np.abs((predicted - outcomes).reshape(10, 2).sum(axis=1)).sum() / 20
    assert metrics[ECE][0] == pytest.approx(bin_errors)
    ties = EvaluatedModel(outcomes, np.full(20, 0.5)).compute_metrics(np.ones((1, 20)))
    assert ties[LIFT][0] == pytest.approx(1.0) and ties[AUC][0] == pytest.approx(0.5)
    assert ties[ECE][0] == pytest.approx(0.3)


def test_differences_are_paired_and_intervals_contain_the_value() -> None:
    random = np.random.default_rng(1)
    predicted = random.random(400)
    outcomes = (random.random(400) < predicted).astype(float)
    comparison = PairedComparison(outcomes, np.arange(400), seed=1)
    metrics = comparison.evaluate("original", predicted)
    comparison.evaluate("same order", predicted / 2)
    assert all(interval.lower <= interval.mean <= interval.upper for interval in metrics.values())
    difference = comparison.difference("original", "same order", AUC)
    assert (difference.mean, difference.lower, difference.upper) == (0.0, 0.0, 0.0)
    assert comparison.difference("original", "same order", LOG_LOSS).mean != 0


def test_units_of_several_rows_are_resampled_with_all_their_rows() -> None:
    outcomes = np.array([1.0, 0.0] * 50)
    predicted = np.where(outcomes > 0, 0.8, 0.2)
    predicted[::10] = 0.5
    units = np.arange(100)
    single = PairedComparison(outcomes, units, 1).evaluate("x", predicted)[BRIER]
    repeated = PairedComparison(np.tile(outcomes, 4), np.tile(units, 4), 1)
    fourfold = repeated.evaluate("x", np.tile(predicted, 4))[BRIER]
    assert fourfold.upper - fourfold.lower == pytest.approx(single.upper - single.lower, rel=0.2)


def test_calibration_corrects_overconfident_scores() -> None:
    random = np.random.default_rng(5)
    log_odds = random.normal(-2, 1.2, 6000)
    outcomes = (random.random(6000) < 1 / (1 + np.exp(-log_odds))).astype(float)
    scores = 3 * log_odds + 4
    calibration = PlattCalibration.fit(scores[:3000], outcomes[:3000])
    calibrated = calibration.probabilities(scores[3000:])
    uncalibrated = 1 / (1 + np.exp(-scores[3000:]))
    errors = [
        EvaluatedModel(outcomes[3000:], probabilities).compute_metrics(np.ones((1, 3000)))[ECE][0]
        for probabilities in (calibrated, uncalibrated)
    ]
    assert errors[0] < 0.02 < errors[1]
    order = np.argsort(scores[3000:])
    assert (np.diff(calibrated[order]) >= 0).all()
    assert calibrated.min() > 0 and calibrated.max() < 1
