"""Churn estimators of a user's own package: compared, averaged, stored and loaded."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.models.churn import base
from batch_predictions.models.churn.churn_metrics import AUC
from batch_predictions.models.churn.churn_model import ChurnModel, EstimatorTrainer
from batch_predictions.models.churn.churn_selection import select_churn
from batch_predictions.settings import ChurnSettings
from batch_predictions.tables import discovery
from batch_predictions_tests.worlds.churn import make_examples
from batch_predictions_tests.worlds.plugin_packages import documented_module, load_package

PACKAGE = "churn_plugin"
AVERAGE_MODULE = '''
"""An average of the platform's and the plugin's estimators, and a second baseline."""
from batch_predictions.models.churn.base import ChurnEstimatorSpec
from batch_predictions.models.churn.estimators.average import AverageEstimator, AverageParams
from batch_predictions.models.churn.estimators.logistic import LogisticEstimator, LogisticParams

mixed = ChurnEstimatorSpec("mixed", AverageEstimator.fit, AverageParams(("logistic", "binned")))
spend = ChurnEstimatorSpec(
    "spend", LogisticEstimator.fit, LogisticParams(("spend_trend",)), is_baseline=True, order=25
)
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with the estimator of the documentation, an average and a baseline."""
    modules = {"binned": documented_module("audiences.md"), "mixed": AVERAGE_MODULE}
    return load_package(tmp_path, monkeypatch, PACKAGE, modules)


def test_a_plugin_s_estimators_are_ordered_after_the_platform_s(plugin: Path) -> None:
    assert base.baseline_names() == ["base_rate", "recency", "rhythm", "spend"]
    assert base.candidate_names() == [
        "logistic",
        "lightgbm",
        "average",
        "binned",
        "mixed",
    ]


@pytest.mark.parametrize("name", ["binned", "mixed"])
def test_a_plugin_s_estimator_is_fitted_by_name_stored_and_loaded(
    plugin: Path, name: str, tmp_path: Path
) -> None:
    estimator = EstimatorTrainer(make_examples(1, 800), 7).fit(name)
    model = ChurnModel.calibrate(estimator, make_examples(2, 800), "platt")
    stored = tmp_path / "stored"
    stored.mkdir()
    model.save(stored)
    rows = make_examples(3, 100).rows
    expected = model.probabilities(rows)
    assert (ChurnModel.load(stored).probabilities(rows) == expected).all()
    assert len(set(expected.tolist())) > 5


def test_the_training_compares_a_plugin_s_estimators_with_its_baseline(plugin: Path) -> None:
    selection = select_churn(
        lambda day: make_examples(day.toordinal(), 400),
        dt.date(2024, 1, 1),
        dt.date(2024, 9, 29),
        ChurnSettings(cutoffs=1),
    )
    auc: dict[Any, Any] = {
        row["candidate"]: row["value"] for row in selection.metrics if row["metric"] == AUC
    }
    assert list(auc) == [
        *("base_rate", "recency", "rhythm", "spend"),
        *("logistic", "lightgbm", "average", "binned", "mixed"),
    ]
    # The churn of these customers depends on spend_trend, the feature of the plugin's baseline.
    assert max(("recency", "rhythm", "spend"), key=lambda name: auc[name]) == "spend"


def test_a_stored_estimator_of_an_absent_plugin_is_named(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EstimatorTrainer(make_examples(1, 300), 7).fit("binned").save(tmp_path, "margin")
    monkeypatch.setattr(discovery, "_plugins", {})
    assert "binned" not in base.candidate_names()
    with pytest.raises(ValueError, match=r"'binned' \(known: average, .*setting plugins"):
        base.load_estimator(tmp_path, "margin")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'forest': choose from base_rate, recency, rhythm, log"):
        EstimatorTrainer(make_examples(1, 100), 7).fit("forest")


def test_two_estimators_of_one_name_are_refused(plugin: Path) -> None:
    source = AVERAGE_MODULE.replace('"mixed"', '"logistic"').replace('"spend"', '"spend_2"')
    (plugin.parent / "second_logistic.py").write_text(source, "utf-8")
    discovery.load_plugins(["second_logistic"])
    with pytest.raises(ValueError, match="two churn estimators have the name 'logistic'"):
        base.estimator_specs()
