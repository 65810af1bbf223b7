"""Which model of churn serves: every candidate is judged on the newest window, never seen before.

A candidate serves where its AUC is better than the best baseline's by more than chance (the paired
95 % interval lies above 0); of those the best. Otherwise the best baseline does. What serves is
fitted again on windows one horizon later, and calibrated on the newest.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from batch_predictions.models.churn.calibration import Method, ProbabilityCalibration
from batch_predictions.models.churn.estimators import (
    AverageEstimator,
    ChurnEstimator,
    LogisticEstimator,
    forests,
)
from batch_predictions.models.churn.features import EVERYTHING, RECENCY, RHYTHM, Doubles
from batch_predictions.models.churn.metrics import AUC, ECE, LIFT, PairedComparison
from batch_predictions.models.churn.model import ChurnModel
from batch_predictions.models.churn.windows import Examples, Windows, windows
from batch_predictions.models.common.bootstrap import Interval, Row, metric_row

UNTRAINED = "untrained"
BASELINES = ("recency", "rhythm")
CANDIDATES = ("logistic", "lightgbm", "average")
GAIN = f"{AUC}_gain"


@dataclass(frozen=True)
class ChurnTrainingConfig:
    """How churn is learned in this home."""

    horizon: int = 28
    step: int = 7
    cutoffs: int = 16
    calibration: Method = "platt"
    min_churned: int = 20
    seed: int = 7


@dataclass(frozen=True)
class ChurnSelection:
    """The model that serves, its name, what all reached, and the judged outcomes for a plot."""

    model: ChurnModel
    chosen: str
    beats_baseline: bool
    why: str
    metrics: list[Row] = field(default_factory=list)
    outcomes: tuple[Doubles, Doubles] | None = None
    """Probabilities and outcomes of the chosen one on the judged window."""


def fit(examples: Examples, seed: int) -> dict[str, ChurnEstimator]:
    """Baselines and candidates, by name."""
    rows, churned = examples.rows, examples.churned
    logistic = LogisticEstimator.fit(rows, churned, EVERYTHING, 0.1)
    trees = forests(rows, churned, seed)
    return {
        "recency": LogisticEstimator.fit(rows, churned, RECENCY, 1.0),
        "rhythm": LogisticEstimator.fit(rows, churned, RHYTHM, 1.0),
        "logistic": logistic,
        "lightgbm": trees,
        "average": AverageEstimator((logistic, trees)),
    }


def calibrated(margin: ChurnEstimator, examples: Examples, method: Method) -> ChurnModel:
    """A margin with its calibration on a later window."""
    return ChurnModel(
        margin, ProbabilityCalibration.fit(method, margin.margins(examples.rows), examples.churned)
    )


def select_churn(
    examples: Callable[[dt.date], Examples],
    first: dt.date | None,
    through: dt.date,
    course: ChurnTrainingConfig,
    say: Callable[[str], None] = lambda text: None,
) -> ChurnSelection:
    """Judges the candidates on the newest window and fits the winner for serving.

    Args:
        examples: customers as of a past day, with their outcomes.
        first: first day with purchases; None where there are none.
        through: last day that is known.
        course: windows, calibration, seed.
        say: told of progress.
    """
    contest = _windows(course, first, through, judged=True)
    serving = _windows(course, first, through, judged=False)
    if contest is None or serving is None:
        return _untrained(
            f"nothing was learned: {4 * course.horizon} days of purchases are needed "
            f"(four times churn.horizon_days), and they begin on {first}"
        )
    held: dict[dt.date, Examples] = {}
    for day in sorted({*contest.days, *serving.days}):
        held[day] = examples(day)
        say(f"{len(held[day].churned):,} customers as of {day}")
    learned, tuned, judged = _parts(contest, held)
    for part, what in ((learned, "learned from"), (tuned, "calibrated on"), (judged, "judged on")):
        if not part.has_both(course.min_churned):
            gone = int(part.churned.sum())
            return _untrained(
                f"nothing was learned: of {len(part.churned)} customers {what} {gone} churned, "
                f"and churn.min_churned = {course.min_churned} who did and who did not are needed"
            )
    contestants = {
        name: calibrated(margin, tuned, course.calibration).probabilities(judged.rows)
        for name, margin in fit(learned, course.seed).items()
    }
    match = PairedComparison(judged.churned, codes(judged), course.seed)
    metrics: list[Row] = []
    reached: dict[str, dict[str, Interval]] = {}
    for name, probabilities in contestants.items():
        reached[name] = match.evaluate(name, probabilities)
        metrics += [metric_row(name, metric, each) for metric, each in reached[name].items()]
    floor = max(BASELINES, key=lambda name: (match.values[name][AUC], name))
    gains = {name: match.gain(name, floor) for name in CANDIDATES}
    metrics += [metric_row(name, GAIN, gain) for name, gain in gains.items()]
    sure = [name for name in CANDIDATES if gains[name].lower > 0]
    chosen = max(sure, key=lambda name: match.values[name][AUC]) if sure else floor
    figures = reached[chosen]
    why = (
        f"{chosen} has AUC {figures[AUC].mean:.4f}, lift {figures[LIFT].mean:.2f} at 10 % and "
        f"calibration error {figures[ECE].mean:.3f} on {match.n:,} customers as of "
        f"{contest.judge[-1]}"
    )
    gain = gains.get(chosen)
    if gain is not None:
        why += f", {floor} {gain.mean:.4f} less AUC ({gain.lower:.4f} to {gain.upper:.4f})"
    else:
        why = f"no candidate is surely better than {floor}: {why}"
    say(why)
    final = Examples.joined([held[day] for day in serving.fit])
    margin = fit(final, course.seed)[chosen]
    model = calibrated(margin, held[serving.calibrate], course.calibration)
    outcomes = (contestants[chosen], judged.churned)
    return ChurnSelection(model, chosen, gain is not None, why, metrics, outcomes)


def codes(examples: Examples) -> npt.NDArray[np.int64]:
    """A number for every customer, the same in all windows: they are resampled whole."""
    encoded = examples.rows["user_id"].combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)


def _windows(
    course: ChurnTrainingConfig, first: dt.date | None, through: dt.date, *, judged: bool
) -> Windows | None:
    if first is None:
        return None
    return windows(
        through, first, course.horizon, judged=judged, step=course.step, most=course.cutoffs
    )


def _parts(chosen: Windows, held: dict[dt.date, Examples]) -> tuple[Examples, Examples, Examples]:
    return (
        Examples.joined([held[day] for day in chosen.fit]),
        held[chosen.calibrate],
        Examples.joined([held[day] for day in chosen.judge]),
    )


def _untrained(why: str) -> ChurnSelection:
    return ChurnSelection(ChurnModel(None, None, why), UNTRAINED, False, why)
