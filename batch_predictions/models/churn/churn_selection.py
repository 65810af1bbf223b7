"""Selects the churn model that serves; all candidates are compared on the newest past day.

A candidate passes where its log loss is significantly lower than that of the best baseline: the
95 % interval of the paired difference is above 0. The log loss is a proper score of probabilities:
it counts both ranking and calibration, where the AUC is the same for any calibration. The best that
passes serves, else the best baseline, which may be the base rate. It is fitted again on cut-offs
one horizon later and calibrated on the newest one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.churn.base import baseline_names, candidate_names, estimator_specs
from batch_predictions.models.churn.churn_metrics import (
    AUC,
    ECE,
    LIFT,
    LOG_LOSS,
    PairedComparison,
)
from batch_predictions.models.churn.churn_model import ChurnModel, EstimatorTrainer
from batch_predictions.models.churn.data.churn_examples import Examples, TrainingWindows
from batch_predictions.models.common.intervals import Interval, Row, metric_row
from batch_predictions.models.common.promotion_gate import best_significant
from batch_predictions.settings import ChurnSettings

UNTRAINED = "untrained"
GAIN, AUC_GAIN = f"{LOG_LOSS}_gain", f"{AUC}_gain"

Progress = Callable[[str], None]
"""Called with a line of text."""


def training_windows(
    config: ChurnSettings, first: dt.date, through: dt.date, *, with_test: bool
) -> TrainingWindows | None:
    """Returns the cut-offs of a history; None where it is too short.

    Args:
        config: horizon, and number and distance of the cut-offs.
        first: day of the oldest purchase; a cut-off has at least `horizon_days` up to it.
        through: last day whose purchases are known.
        with_test: whether the newest cut-off is kept for the comparison of candidates.
    """
    horizon = dt.timedelta(days=config.horizon_days)
    newest = through - horizon
    calibration_day = newest - horizon if with_test else newest
    oldest_fit = first + horizon - dt.timedelta(days=1)
    steps = (dt.timedelta(days=config.step_days * n) for n in range(config.cutoffs))
    candidates = [calibration_day - horizon - step for step in steps]
    fit_days = tuple(sorted(day for day in candidates if day >= oldest_fit))
    if not fit_days:
        return None
    return TrainingWindows(fit_days, calibration_day, newest if with_test else None)


@dataclass(frozen=True)
class ChurnSelection:
    """The result of the selection of a churn model.

    Attributes:
        model: the model that serves.
        candidate: name of its estimator; `untrained` if there was too little data.
        beats_baseline: whether a candidate passed.
        why: the decision in a sentence.
        metrics: rows of `evaluation.model_metrics`, of all estimators.
        outcomes: probabilities of this estimator and outcomes on the test day, for a plot; None if
            there was too little data.
    """

    model: ChurnModel
    candidate: str
    beats_baseline: bool
    why: str
    metrics: list[Row] = field(default_factory=list)
    outcomes: tuple[Doubles, Doubles] | None = None


@dataclass(frozen=True)
class _Evaluation:
    """All estimators on the test day: probabilities and metrics by name."""

    comparison: PairedComparison
    probabilities: Mapping[str, Doubles]
    metrics: Mapping[str, Mapping[str, Interval]]


@dataclass(frozen=True)
class _Decision:
    """The best candidate that passed, or None, and the gains over the best baseline.

    Gains are of the log loss and, to be shown, of the AUC; positive is better.
    """

    winner: str | None
    baseline: str
    gains: Mapping[str, Interval]
    auc_gains: Mapping[str, Interval]

    @property
    def serving(self) -> str:
        """The estimator that serves."""
        return self.winner or self.baseline


def select_churn(
    examples_as_of: Callable[[dt.date], Examples],
    first: dt.date | None,
    through: dt.date,
    config: ChurnSettings,
    progress: Progress = lambda text: None,
) -> ChurnSelection:
    """Compares all estimators on the newest past day and fits the winner for serving.

    Args:
        examples_as_of: reads the customers of a past day with their outcomes.
        first: first day with purchases; None where there are none.
        through: last day whose purchases are known.
        config: cut-offs, calibration, seed.
        progress: receives log lines.
    """
    if first is None:
        return _untrained("no model was trained: there are no purchases")
    test_windows = training_windows(config, first, through, with_test=True)
    serving_windows = training_windows(config, first, through, with_test=False)
    if test_windows is None or test_windows.test_day is None or serving_windows is None:
        return _untrained(
            f"no model was trained: {4 * config.horizon_days} days of purchases are needed (four "
            f"times churn.horizon_days), and the first purchase is of {first}"
        )
    examples_by_day: dict[dt.date, Examples] = {}
    for day in sorted({*test_windows.days, *serving_windows.days}):
        examples_by_day[day] = examples_as_of(day)
        progress(f"{len(examples_by_day[day]):,} customers as of {day}")
    fit_examples = Examples.concat([examples_by_day[day] for day in test_windows.fit_days])
    calibration = examples_by_day[test_windows.calibration_day]
    test = examples_by_day[test_windows.test_day]
    shortage = _find_shortage(
        {"fitting": fit_examples, "calibration": calibration, "test": test}, config.min_churned
    )
    if shortage:
        return _untrained(shortage)
    evaluation = _evaluate(fit_examples, calibration, test, config)
    decision = _decide(evaluation.comparison)
    why = _explain(decision, evaluation, test_windows.test_day)
    progress(why)
    serving_examples = Examples.concat([examples_by_day[day] for day in serving_windows.fit_days])
    estimator = EstimatorTrainer(serving_examples, config.seed).fit(decision.serving)
    newest = examples_by_day[serving_windows.calibration_day]
    return ChurnSelection(
        ChurnModel.calibrate(estimator, newest, config.calibration),
        decision.serving,
        decision.winner is not None,
        why,
        _metric_rows(decision, evaluation),
        (evaluation.probabilities[decision.serving], test.churned),
    )


def _find_shortage(examples_by_use: Mapping[str, Examples], min_churned: int) -> str | None:
    """Explains why there are too few examples; None where there are enough."""
    for use, examples in examples_by_use.items():
        if not examples.has_both_classes(min_churned):
            return (
                f"no model was trained: of the {len(examples):,} customers for {use}, "
                f"{examples.n_churned:,} churned; at least churn.min_churned = {min_churned} who "
                "churned and as many who did not are needed"
            )
    return None


def _evaluate(
    fit_examples: Examples, calibration: Examples, test: Examples, config: ChurnSettings
) -> _Evaluation:
    """Fits, calibrates and evaluates every declared estimator."""
    trainer = EstimatorTrainer(fit_examples, config.seed)
    comparison = PairedComparison(test.churned, test.customer_codes(), config.seed)
    probabilities, metrics = {}, {}
    for name in estimator_specs():
        model = ChurnModel.calibrate(trainer.fit(name), calibration, config.calibration)
        probabilities[name] = model.probabilities(test.rows)
        metrics[name] = comparison.evaluate(name, probabilities[name])
    return _Evaluation(comparison, probabilities, metrics)


def _decide(comparison: PairedComparison) -> _Decision:
    """Compares the candidates with the baseline of the lowest log loss; the first wins a tie."""
    baseline = min(baseline_names(), key=lambda name: comparison.values[name][LOG_LOSS])
    names = candidate_names()
    gains = {name: comparison.difference(baseline, name, LOG_LOSS) for name in names}
    auc_gains = {name: comparison.difference(name, baseline, AUC) for name in names}
    return _Decision(best_significant(gains), baseline, gains, auc_gains)


def _explain(decision: _Decision, evaluation: _Evaluation, test_day: dt.date) -> str:
    """Explains in a sentence which estimator serves, with its figures on the test day."""
    metrics = evaluation.metrics[decision.serving]
    figures = (
        f"log loss {metrics[LOG_LOSS].mean:.4f}, AUC {metrics[AUC].mean:.4f}, lift "
        f"{metrics[LIFT].mean:.2f} at 10 % and calibration error {metrics[ECE].mean:.3f} on "
        f"{evaluation.comparison.n:,} customers as of {test_day}"
    )
    if decision.winner is None:
        return f"no candidate is significantly better than {decision.baseline}, which has {figures}"
    gain = decision.gains[decision.winner]
    return (
        f"{decision.winner} has {figures}; the log loss of {decision.baseline} is {gain.mean:.4f} "
        f"higher (95 % interval {gain.lower:.4f} to {gain.upper:.4f})"
    )


def _metric_rows(decision: _Decision, evaluation: _Evaluation) -> list[Row]:
    """Metrics of every estimator, then the gains of the candidates."""
    rows = [
        metric_row(name, metric, interval)
        for name, intervals in evaluation.metrics.items()
        for metric, interval in intervals.items()
    ]
    rows += [metric_row(name, GAIN, gain) for name, gain in decision.gains.items()]
    return rows + [metric_row(name, AUC_GAIN, gain) for name, gain in decision.auc_gains.items()]


def _untrained(why: str) -> ChurnSelection:
    """Returns a model without an estimator, whose customers are excluded with the reason."""
    return ChurnSelection(ChurnModel(None, None, why), UNTRAINED, False, why)
