"""Chooses the fallback's model, on users whose history is hidden.

1. The half-life of popularity, with one list for all users.
2. Where the promotions of the coming week are known, their uplift multiplies popularity if it gains
   at all: three non-negative coefficients fitted on all users do not overfit.
3. The adjustments of segments compete on top of it. `CountAdjustment` is evaluated by
   cross-fitting: each fold with the kappa that is best on the other folds. It serves if its gain
   over one list for all exceeds one standard error (Breiman et al. 1984, "Classification and
   Regression Trees", 3.4.3). `RidgeAdjustment` estimates its penalties by likelihood; it serves
   where demographics raise the likelihood beyond chance, unless hidden users are significantly
   worse off. Otherwise one list serves all users.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.intervals import (
    Interval,
    Row,
    bootstrap_interval,
    metric_row,
    paired_difference,
)
from batch_predictions.models.common.ranking_metrics import NDCG
from batch_predictions.models.demographic.demographic_evaluation import (
    ColdStartEvaluation,
    DemographicConfig,
    UserMetrics,
)
from batch_predictions.models.demographic.demographic_model import (
    CountAdjustment,
    DemographicModel,
    SegmentAdjustment,
)
from batch_predictions.models.demographic.demographic_statistics import (
    Candidate,
    SegmentStatistics,
    event_matrices,
)
from batch_predictions.models.demographic.promotion_uplift import (
    Factors,
    PromotionChanges,
    PromotionUplift,
    PromotionWeeks,
)
from batch_predictions.models.demographic.promotion_uplift_cv import PromotionUpliftCV
from batch_predictions.models.demographic.ridge import RidgeAdjustment
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators.popularity import popularity_name

HALF_LIVES = (7, 14, 21, 30, 60, 90, 365)
"""Days; with the longest, recency-weighted popularity is nearly that of all time."""
DEFAULT_HALF_LIFE = 30
KAPPAS = (300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0)
MAX_LOSS_STANDARD_ERRORS = 2.0
"""The ridge regression does not serve if hidden users lose more than this with it."""
CANDIDATES = (*(Candidate("segments", kappa) for kappa in KAPPAS), Candidate("ridge"))
SEGMENTS, RIDGE = "demographic_segments", "demographic_ridge"
NAMES = {"segments": SEGMENTS, "ridge": RIDGE}
PROMOTED = "promoted_popularity"
GAIN, GAIN_OVER_POPULARITY = f"{NDCG}_gain", f"{NDCG}_gain_over_popularity"


@dataclass(frozen=True)
class DemographicSelection:
    """The fallback's model that serves, and the reason.

    Attributes:
        model: the one that serves, fitted on all rows.
        candidate: its name.
        why: the decision with its figures.
        metrics: of each candidate, with paired differences to recency-weighted popularity of the
            chosen half-life (`ndcg@10_gain`) and to all-time popularity
            (`ndcg@10_gain_over_popularity`); those of adjustments are cross-fitted.
        split: how hidden users were evaluated.
        models: the best model of each kind by candidate name, fitted on all rows.
    """

    model: DemographicModel
    candidate: str
    why: str
    metrics: list[Row]
    split: Literal["time", "leave_out"]
    models: dict[str, DemographicModel] = field(default_factory=dict)


def select_demographic(
    rows: pa.Table,
    segments: pa.Table,
    through: date,
    config: DemographicConfig,
    *,
    changes: PromotionChanges | None = None,
    weeks: PromotionWeeks | None = None,
    progress: Callable[[str], None] | None = None,
) -> DemographicSelection:
    """Chooses half-life, uplift and adjustment by cross-validation over users; fits on all rows.

    Args:
        rows: user_id, item_id, date, events.
        segments: user_id, age_bracket, gender, location, as known when users sign up; users
            without a row are unknown.
        through: last day that is known.
        config: how.
        changes: of promotions in the week after a day; None: no calendar is known.
        weeks: promotions before a day, from which items' responses are learned; None: they have
            none.
        progress: called with a line about what is being done.
    """
    interactions = Interactions.from_table(rows).up_to(through)
    evaluation = ColdStartEvaluation(interactions, segments, through, config)
    if len(evaluation.users) == 0:
        return _without_evaluation(evaluation)
    report = progress or (lambda text: None)
    report(f"evaluating popularity on {len(evaluation.users):,} users without history")
    selector = _Selector(evaluation)
    if changes is not None:
        selector.evaluate_uplift(changes, weeks)
    if len(evaluation.leaves) > 1:
        report("evaluating counts by segment and the regression on demographics")
        selector.evaluate_adjustments()
    return selector.result()


class _Selector:
    """Evaluates one step after the other, and keeps the best so far."""

    def __init__(self, evaluation: ColdStartEvaluation) -> None:
        self.evaluation, self.seed = evaluation, evaluation.config.seed
        self.metrics: list[Row] = []
        by_half_life = evaluation.evaluate_popularity([math.inf, *HALF_LIVES])
        self.all_time = by_half_life[math.inf][NDCG]
        # Of equals the longest: it rests on most events.
        self.half_life = max(HALF_LIVES, key=lambda days: (by_half_life[days][NDCG].mean(), days))
        self.recent = by_half_life[self.half_life][NDCG]
        for days, metrics in by_half_life.items():
            name = popularity_name(None if math.isinf(days) else days)
            self.metrics += self._metric_rows(name, metrics)
            if not math.isinf(days):
                self._add_gain(name, GAIN_OVER_POPULARITY, metrics, self.all_time)
        self.name = popularity_name(self.half_life)
        self.models = {self.name: DemographicModel(self.half_life)}
        self.base = self.recent
        self.uplift: PromotionUplift | None = None
        self.factors: Factors | None = None
        self.uplift_verdict = ""
        self.segment_verdict = "all users have the same demographics"

    def evaluate_uplift(self, changes: PromotionChanges, weeks: PromotionWeeks | None) -> None:
        """Evaluates popularity times the uplift of promotions: it serves where it gains at all."""
        fitted = PromotionUpliftCV.fit(self.evaluation, changes, self.half_life, weeks)
        uplift = fitted.uplift
        if uplift is None:
            return
        evaluated = self.evaluation.evaluate_popularity([self.half_life], fitted.factors)
        metrics = evaluated[self.half_life]
        gain = self._add_candidate(PROMOTED, metrics)
        self.models[PROMOTED] = DemographicModel(self.half_life, uplift=uplift)
        has_effect = max(uplift.display, uplift.mailer, uplift.item_response) > 0
        serves = has_effect and gain.mean > 1e-12
        self.uplift_verdict = (
            f" The coming week's promotions {'change' if serves else 'do not change'} the lists: "
            f"{_format_gain(gain)}."
        )
        if serves:
            self.name, self.base = PROMOTED, metrics[NDCG]
            self.uplift, self.factors = uplift, fitted.factors

    def evaluate_adjustments(self) -> None:
        """Evaluates the adjustments; of those that pass, the one with the larger gain serves."""
        evaluated = self.evaluation.evaluate_adjustments(self.half_life, CANDIDATES, self.factors)
        best_gain = 0.0
        verdicts = []
        for kind, name in NAMES.items():
            of_kind = {
                candidate: metrics
                for candidate, metrics in evaluated.items()
                if candidate.kind == kind
            }
            metrics = _cross_fit(of_kind, self.evaluation.fold_of_evaluated)
            best = max(of_kind, key=lambda candidate: _order(candidate, of_kind[candidate][NDCG]))
            gain = paired_difference(metrics[NDCG], self.base, self.seed)
            self._add_candidate(name, metrics)
            model = self._fit(best)
            self.models[name] = model
            verdicts.append(f"{name} ({model.adjustment}) {_format_gain(gain)}")
            is_better = self.name not in NAMES.values() or gain.mean > best_gain
            if is_better and _passes(model.adjustment, gain, metrics[NDCG] - self.base):
                self.name, best_gain = name, gain.mean
        self.segment_verdict = "; ".join(verdicts)

    def result(self) -> DemographicSelection:
        """Returns the model that serves, with its reason."""
        if self.name in NAMES.values():
            decision = f"{self.name} serves, by gains over one list for all users"
        else:
            decision = "One list serves all users, as adjusting it to segments does not improve it"
        recency_gain = paired_difference(self.recent, self.all_time, self.seed)
        why = (
            f"{decision}: {self.segment_verdict}.{self.uplift_verdict} A half-life of "
            f"{self.half_life} days is the best of {', '.join(map(str, HALF_LIVES))} with NDCG@10 "
            f"{self.recent.mean():.4f}, {_format_gain(recency_gain)} over all-time popularity, on "
            f"{len(self.evaluation.users):,} users without history."
        )
        model = self.models[self.name]
        return DemographicSelection(
            model, self.name, why, self.metrics, self.evaluation.split, self.models
        )

    def _fit(self, candidate: Candidate) -> DemographicModel:
        """Fits a candidate's model on all rows."""
        if candidate.kind == "segments":
            adjustment: SegmentAdjustment = CountAdjustment(candidate.kappa)
        else:
            evaluation, interactions = self.evaluation, self.evaluation.interactions
            all_rows = np.ones(len(interactions), dtype=bool)
            decayed = evaluation.weights(evaluation.through, all_rows, self.half_life)
            adjustment = SegmentStatistics(
                interactions,
                evaluation.leaves,
                evaluation.leaf_of_user,
                *event_matrices(interactions, all_rows, decayed),
                np.ones(len(interactions.user_ids), dtype=bool),
            ).fit_ridge()
        return DemographicModel(self.half_life, adjustment, self.uplift)

    def _add_candidate(self, name: str, metrics: UserMetrics) -> Interval:
        """Adds a candidate's rows; its gain over recency-weighted popularity."""
        self.metrics += self._metric_rows(name, metrics)
        gain = self._add_gain(name, GAIN, metrics, self.recent)
        self._add_gain(name, GAIN_OVER_POPULARITY, metrics, self.all_time)
        return gain

    def _add_gain(self, name: str, metric: str, metrics: UserMetrics, base: Doubles) -> Interval:
        gain = paired_difference(metrics[NDCG], base, self.seed)
        self.metrics.append(metric_row(name, metric, gain))
        return gain

    def _metric_rows(self, name: str, metrics: UserMetrics) -> list[Row]:
        return [
            metric_row(name, metric, bootstrap_interval(values, self.seed))
            for metric, values in metrics.items()
        ]


def _without_evaluation(evaluation: ColdStartEvaluation) -> DemographicSelection:
    """Returns a model of default parameters, where no user can be evaluated."""
    cut = evaluation.through - timedelta(days=evaluation.config.holdout_days)
    is_single = evaluation.interactions.has_single_date
    where = "on its one day" if is_single else f"both before and after {cut}"
    return DemographicSelection(
        DemographicModel(DEFAULT_HALF_LIFE),
        popularity_name(DEFAULT_HALF_LIFE),
        f"One list serves all users, with a half-life of {DEFAULT_HALF_LIFE} days: nothing could "
        f"be evaluated, since the data has no users {where}.",
        [],
        evaluation.split,
    )


def _order(candidate: Candidate, ndcg: Doubles) -> tuple[float, float]:
    """Sorts the better candidate last; of equals the one closest to one list for all users."""
    return float(ndcg.mean()), candidate.kappa


def _cross_fit(
    evaluated: Mapping[Candidate, UserMetrics], fold: npt.NDArray[np.int64]
) -> UserMetrics:
    """Each fold's metrics with the candidate that is best on the other folds."""
    result: dict[str, Doubles] = {}
    for number in np.unique(fold):
        in_fold = fold == number
        training = ~in_fold if (~in_fold).any() else in_fold
        best = max(
            evaluated, key=lambda candidate: _order(candidate, evaluated[candidate][NDCG][training])
        )
        for metric, values in evaluated[best].items():
            result.setdefault(metric, np.zeros(len(fold)))[in_fold] = values[in_fold]
    return result


def _passes(adjustment: SegmentAdjustment, gain: Interval, differences: Doubles) -> bool:
    """Returns whether an adjustment may serve instead of one list for all users.

    Counts are tried with several kappas, and must gain more than one standard error. The regression
    is not chosen by gains: it passes where its likelihood says that demographics have an effect,
    unless hidden users are significantly worse off.
    """
    count = len(differences)
    error = float(differences.std(ddof=1) / math.sqrt(count)) if count > 1 else math.inf
    if isinstance(adjustment, RidgeAdjustment):
        min_gain = -MAX_LOSS_STANDARD_ERRORS * error
        return adjustment.has_effect and math.isfinite(error) and gain.mean > min_gain
    # Differences of rounding do not count.
    return gain.mean > max(error, 1e-12)


def _format_gain(gain: Interval) -> str:
    return f"{gain.mean:+.4f} (95 % interval {gain.lower:+.4f} to {gain.upper:+.4f})"
