"""What serves users without a history: chosen on users whose history is hidden.

First the half-life of popularity is chosen, with one list for everyone. Where the promotions of the
coming week are known, they multiply it if that gains at all: two weights, not below 0 and learned
from everybody, can hardly follow chance. Then the two tilts compete on top of it: counts of the
segment with a weight `kappa` of their parent, and the ridge regression, which estimates its
penalties itself. A tilt is judged by figures of users that had no say in its strength: for each
fold kappa is the one that is best on the other folds. Counts serve only if their gain over
everyone's list is more than one standard error (Breiman et al. 1984, "Classification and Regression
Trees", 3.4.3: the simpler of two that cannot be told apart). The regression serves where what users
took is likelier with their demographics than without, by more than chance explains, and held-out
users are not surely worse off with it. Otherwise one list serves everyone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.common.bootstrap import (
    Interval,
    Row,
    bootstrap_interval,
    metric_row,
    paired_difference,
)
from batch_predictions.models.common.ranking_metrics import NDCG, Doubles
from batch_predictions.models.demographic.evaluation import ColdStartEvaluation, Measured
from batch_predictions.models.demographic.model import CountAdjustment, DemographicModel
from batch_predictions.models.demographic.promotion_uplift import (
    Changes,
    PromotionUpliftCV,
    Weeks,
)
from batch_predictions.models.demographic.ridge import RidgeAdjustment
from batch_predictions.models.demographic.segments import SegmentAdjustment, user_leaves
from batch_predictions.models.demographic.statistics import (
    Candidate,
    SegmentStatistics,
    matrices,
    recency,
)
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators.popularity import popularity_name

HALF_LIVES = (7, 14, 21, 30, 60, 90, 365)
"""Days; with the longest, recency-weighted popularity is nearly that of all time."""
DEFAULT_HALF_LIFE = 30
KAPPAS = (300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0)
SURELY = 2.0
"""Standard errors by which held-out users must be worse off for the regression not to serve."""
CANDIDATES = (*(Candidate("segments", kappa) for kappa in KAPPAS), Candidate("ridge"))
WINDOWS = 4
SEGMENTS, RIDGE = "demographic_segments", "demographic_ridge"
NAMES = {"segments": SEGMENTS, "ridge": RIDGE}
PROMOTED = "promoted_popularity"
POPULARITY = popularity_name(None)
GAIN, GAIN_OVER_POPULARITY = f"{NDCG}_gain", f"{NDCG}_gain_over_popularity"


@dataclass(frozen=True)
class DemographicSelection:
    """What serves, and why.

    `metrics` has each candidate's figures, with paired differences to recency-weighted popularity
    of the chosen half-life (`ndcg@10_gain`) and to all-time popularity
    (`ndcg@10_gain_over_popularity`); of a tilt they are cross-fitted, whether or not it serves.
    `models` has the best model of each kind by candidate name, fitted on all rows.
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
    trained_through: date,
    *,
    holdout_days: int = 7,
    windows: int = WINDOWS,
    window_days: int | None = None,
    seed: int,
    min_users: int = 20,
    changes: Changes | None = None,
    weeks: Weeks | None = None,
    progress: Callable[[str], None] | None = None,
) -> DemographicSelection:
    """Choose half-life and tilt by cross-validation over users; fit them on all rows.

    Args:
        rows: user_id, item_id, date, events.
        segments: user_id, age_bracket, gender, location, as known when users sign up (users
            without a row are unknown).
        trained_through: last day that is known.
        holdout_days: days of each window that is asked about.
        windows: the newest so many windows are asked about.
        window_days: days that popularity is counted over; None: all.
        seed: of folds and bootstrap samples.
        min_users: that of the segments which will be served.
        changes: of promotions in the week after a day; None: no calendar is known.
        weeks: of the promotions before a day, by which items' own responses are learned; None: they
            have none.
        progress: is told what is being measured.
    """
    say = progress or (lambda text: None)
    known = Interactions.from_table(rows).up_to(trained_through)
    trial = ColdStartEvaluation(
        known,
        segments,
        trained_through,
        holdout_days=holdout_days,
        windows=windows,
        window_days=window_days,
        seed=seed,
        min_users=min_users,
    )
    if len(trial.asked) == 0:
        where = (
            "on its one day"
            if known.single_date
            else f"both sides of {trained_through - timedelta(days=holdout_days)}"
        )
        return DemographicSelection(
            DemographicModel(DEFAULT_HALF_LIFE),
            popularity_name(DEFAULT_HALF_LIFE),
            f"One list serves everyone, with a half-life of {DEFAULT_HALF_LIFE} days: nothing "
            f"could be measured, since the data has no users to learn from and to ask {where}.",
            [],
            trial.split,
        )
    say(f"measuring popularity on {len(trial.asked):,} users without history")
    lists = trial.popularity([math.inf, *HALF_LIVES])
    # Among equals the longest: it rests on most events.
    half_life = max(HALF_LIVES, key=lambda days: (lists[days][NDCG].mean(), days))
    everyone, ever = lists[half_life][NDCG], lists[math.inf][NDCG]
    metrics: list[Row] = []
    for days, measured in lists.items():
        name = popularity_name(None if math.isinf(days) else days)
        metrics += _figures(name, measured, seed)
        if not math.isinf(days):
            gain = paired_difference(measured[NDCG], ever, seed)
            metrics.append(metric_row(name, GAIN_OVER_POPULARITY, gain))
    recent = popularity_name(half_life)
    models = {recent: DemographicModel(half_life)}
    served, best, verdict = recent, 0.0, "no demographics tell users apart"
    base, calendar, factors, of_calendar = everyone, None, None, ""
    tried_calendar = PromotionUpliftCV(trial, changes, half_life, weeks) if changes else None
    if tried_calendar and tried_calendar.learned:
        measured = trial.popularity([half_life], tried_calendar.factors)[half_life]
        gain = paired_difference(measured[NDCG], everyone, seed)
        metrics += _figures(PROMOTED, measured, seed)
        metrics.append(metric_row(PROMOTED, GAIN, gain))
        over = paired_difference(measured[NDCG], ever, seed)
        metrics.append(metric_row(PROMOTED, GAIN_OVER_POPULARITY, over))
        models[PROMOTED] = DemographicModel(half_life, calendar=tried_calendar.learned)
        factor = tried_calendar.learned
        idle = max(factor.display, factor.mailer, factor.own) == 0.0
        serves = not idle and gain.mean > 1e-12
        of_calendar = (
            f" The coming week's promotions {'move' if serves else 'do not move'} all lists: "
            f"{_signed(gain)}."
        )
        if serves:
            served, base = PROMOTED, measured[NDCG]
            calendar, factors = tried_calendar.learned, tried_calendar.factors
    if len(trial.leaves) > 1:
        say("measuring segments and regression")
        tried = trial.tilts(half_life, CANDIDATES, factors)
        told = []
        for kind, name in NAMES.items():
            of_kind = {each: found for each, found in tried.items() if each.kind == kind}
            measured = _cross_fitted(of_kind, trial.fold_of_asked)
            chosen = max(of_kind, key=lambda each: _order(each, of_kind[each][NDCG]))
            gain = paired_difference(measured[NDCG], base, seed)
            metrics += _figures(name, measured, seed)
            metrics.append(
                metric_row(name, GAIN, paired_difference(measured[NDCG], everyone, seed))
            )
            over = paired_difference(measured[NDCG], ever, seed)
            metrics.append(metric_row(name, GAIN_OVER_POPULARITY, over))
            models[name] = replace(
                _fitted(known, segments, trained_through, half_life, window_days, chosen),
                calendar=calendar,
            )
            told.append(f"{name} ({models[name].tilt}) {_signed(gain)}")
            better = served not in NAMES.values() or gain.mean > best
            if better and _serves(models[name].tilt, gain, measured[NDCG] - base):
                served, best = name, gain.mean
        verdict = "; ".join(told)
    if served in (recent, PROMOTED):
        what = f"One list serves everyone, since demographics tell no more than it: {verdict}"
    else:
        what = f"{served} serves, by differences to one list for all: {verdict}"
    why = (
        f"{what}.{of_calendar} A half-life of {half_life} days is the best of "
        f"{', '.join(map(str, HALF_LIVES))} with NDCG@10 {everyone.mean():.4f}, "
        f"{_signed(paired_difference(everyone, ever, seed))} to all-time popularity, over "
        f"{len(trial.asked):,} users without history."
    )
    return DemographicSelection(models[served], served, why, metrics, trial.split, models)


def _order(candidate: Candidate, ndcgs: Doubles) -> tuple[float, float]:
    """The better one last; among equals the one that departs least from everyone's list."""
    return float(ndcgs.mean()), candidate.kappa


def _cross_fitted(of_kind: dict[Candidate, Measured], fold: npt.NDArray[np.int64]) -> Measured:
    """Each fold's figures with the strength that is best on the other folds."""
    out: Measured = {}
    for number in np.unique(fold):
        own = fold == number
        judges = ~own if (~own).any() else own
        chosen = max(of_kind, key=lambda each: _order(each, of_kind[each][NDCG][judges]))
        for metric, values in of_kind[chosen].items():
            out.setdefault(metric, np.zeros(len(fold)))[own] = values[own]
    return out


def _fitted(
    known: Interactions,
    segments: pa.Table,
    through: date,
    half_life: float,
    window_days: int | None,
    chosen: Candidate,
) -> DemographicModel:
    """The candidate, learned from all rows."""
    if chosen.kind == "segments":
        return DemographicModel(half_life, CountAdjustment(chosen.kappa))
    everything = np.ones(len(known), dtype=bool)
    popular, ever = matrices(
        known, everything, known.events * recency(known, through, half_life, window_days)
    )
    leaves, leaf_of_user = user_leaves(known.user_ids, segments)
    everybody = np.ones(len(known.user_ids), dtype=bool)
    learned = SegmentStatistics(known, leaves, leaf_of_user, popular, ever, everybody)
    tilt = learned.tilt(chosen)
    assert isinstance(tilt, RidgeAdjustment)
    return DemographicModel(half_life, tilt)


def _figures(candidate: str, measured: Measured, seed: int) -> list[Row]:
    return [
        metric_row(candidate, metric, bootstrap_interval(values, seed))
        for metric, values in measured.items()
    ]


def _standard_error(values: Doubles) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.inf


def _serves(tilt: SegmentAdjustment, gain: Interval, differences: Doubles) -> bool:
    """Whether a tilt is to be believed rather than one list for all.

    Counts are tried with many strengths and serve where they gain more than one standard error. The
    regression is not chosen by gains at all: where what users took is much likelier with their
    demographics it serves, unless held-out users are surely worse off.
    """
    error = _standard_error(differences)
    if isinstance(tilt, RidgeAdjustment):
        return tilt.matters and math.isfinite(error) and gain.mean > -SURELY * error
    # A difference of rounding is none.
    return gain.mean > max(error, 1e-12)


def _signed(gain: Interval) -> str:
    return f"{gain.mean:+.4f} (95 % interval {gain.lower:+.4f} to {gain.upper:+.4f})"
