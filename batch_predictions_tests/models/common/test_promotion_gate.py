"""The shared gate: a candidate serves only if it is significantly better than all baselines."""

from __future__ import annotations

import numpy as np
import pytest

from batch_predictions.models.common.promotion_gate import paired_gate

RANDOM = np.random.default_rng(1)
NOISE = RANDOM.normal(size=400)
ERRORS = {"mean": 10 + NOISE, "last_value": 12 + NOISE}


def test_a_candidate_that_is_better_on_the_same_units_passes() -> None:
    better = 9.5 + NOISE + RANDOM.normal(scale=0.5, size=400)
    result = paired_gate({**ERRORS, "model": better}, ("mean", "last_value"), metric="mae")
    assert (result.serving, result.beats_baseline) == ("model", True)
    gain = result.gains["model"]
    assert 0 < gain.lower < 0.5 < gain.upper and gain.n == 400
    assert "over the best baseline, mean" in result.why
    metrics = {(row["candidate"], row["metric"]) for row in result.metrics}
    assert metrics == {(c, "mae") for c in ("mean", "last_value", "model")} | {
        ("model", "mae_gain")
    }


def test_a_chance_difference_does_not_pass_and_the_best_baseline_serves() -> None:
    equal = ERRORS["mean"] + RANDOM.normal(scale=3.0, size=400) - 0.05
    result = paired_gate({**ERRORS, "model": equal}, ["mean", "last_value"])
    assert (result.serving, result.beats_baseline) == ("mean", False)
    assert result.gains["model"].lower <= 0 and "not significantly better" in result.why


def test_the_best_of_several_passing_candidates_serves() -> None:
    values = {**ERRORS, "good": 9 + NOISE, "best": 8 + NOISE}
    assert paired_gate(values, "mean").serving == "best"


def test_with_scores_the_higher_candidate_passes() -> None:
    scores = {"popularity": 0.2 + NOISE / 100, "model": 0.3 + NOISE / 100}
    result = paired_gate(scores, "popularity", metric="ndcg@10", lower_is_better=False)
    assert result.serving == "model" and result.gains["model"].mean == pytest.approx(0.1)


def test_without_candidates_the_baseline_serves() -> None:
    result = paired_gate({"mean": ERRORS["mean"]}, "mean")
    assert (result.serving, result.beats_baseline, result.gains) == ("mean", False, {})
    assert "only baselines" in result.why


@pytest.mark.parametrize(
    ("values", "baselines", "message"),
    [
        ({"model": np.ones(3)}, "mean", "no values for the baselines"),
        ({"mean": np.ones(3)}, [], "no values for the baselines"),
        ({"mean": np.ones(0)}, "mean", "no units"),
        ({"mean": np.ones(3), "model": np.ones(4)}, "mean", "same units"),
    ],
)
def test_incomparable_values_are_refused(
    values: dict[str, np.ndarray], baselines: str | list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        paired_gate(values, baselines)
