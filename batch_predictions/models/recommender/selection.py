"""Which recommender may serve: the best candidate, if it beats the best baseline.

Candidates and baselines learn from the days up to a cut and are asked about the days after it. A
candidate is promoted only where the 95 % interval of its paired difference in NDCG@10 to the best
baseline lies above zero; otherwise the best baseline serves. Whoever wins learns again from
everything, the days of the contest included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

from batch_predictions.models.ranking import NDCG, Interval, Row, metric_row, paired_difference
from batch_predictions.models.recommender.als import ALS
from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.data import Interactions
from batch_predictions.models.recommender.ease import EASE
from batch_predictions.models.recommender.evaluation import (
    Evaluation,
    Holdout,
    Split,
    evaluate,
    hold_out,
)
from batch_predictions.models.recommender.popularity import Popularity, popularity_name

Params: TypeAlias = Mapping[str, Mapping[str, Any]]

CANDIDATES = ("als", "ease")
HALF_LIVES = (7, 14, 30)
BASELINES: dict[str, dict[str, Any]] = {
    popularity_name(days): {"half_life_days": days} for days in (None, *HALF_LIVES)
}
FALLBACK = popularity_name(14)
"""Serves where nothing can be measured: recent taste, over enough days to be steady."""

NEW_ITEMS: Params = {
    "als": {"regularization": 60.0, "alpha": 10.0},
    "ease": {"l2": 200.0},
}
"""Where seen items are not offered again. Tuned coarsely on MovieLens 100K."""
REPEATS: Params = {
    "als": {"regularization": 20.0, "alpha": 0.3},
    "ease": {"l2": 10.0},
}
"""Where people take the same things again: how often they did is worth more than likeness, so
events are trusted nearly as they are. Tuned coarsely on the Complete Journey."""


@dataclass(frozen=True)
class Selection:
    """The contest's result: a model that has learned from everything, and why it is that one."""

    model: Recommender
    chosen: str
    beats_baseline: bool
    why: str
    metrics: list[Row]
    """candidate, metric, value, lower, upper, n; the bounds are 95 %, null where there are none.
    `ndcg@10_gain` is the best candidate's paired difference to the best baseline."""
    split: Split


def select(
    interactions: Interactions,
    trained_through: date,
    *,
    candidates: Sequence[str] = CANDIDATES,
    exclude_seen: bool,
    holdout_days: int = 7,
    seed: int,
    history_half_life_days: float | None = None,
    params: Params | None = None,
    progress: Callable[[str], None] | None = None,
) -> Selection:
    """Fit, measure, decide, refit. `params` changes a candidate's parameters by name.

    `history_half_life_days` makes recent events of a user count more. The histories that are
    scored later have to be weighted likewise: see `Recommender.history_half_life_days`.
    """
    unknown = sorted({*candidates, *(params or {})} - set(CANDIDATES))
    if unknown:
        raise ValueError(f"unknown recommenders {unknown}; known are {list(CANDIDATES)}")
    known = interactions.up_to(trained_through)
    if len(known) == 0:
        raise ValueError(f"no interactions up to {trained_through}: nothing to learn from")
    tuned = REPEATS if not exclude_seen else NEW_ITEMS
    settings: dict[str, dict[str, Any]] = {
        name: {
            **tuned[name],
            "history_half_life_days": history_half_life_days,
            **(params or {}).get(name, {}),
        }
        for name in candidates
    }
    if "als" in settings:
        settings["als"] = {"seed": seed, **settings["als"]}
    settings |= BASELINES

    def fit(name: str, rows: Interactions, as_of: date) -> Recommender:
        if progress:
            progress(f"fitting {name} on {len(rows):,} rows through {as_of}")
        return _family(name).fit(rows, as_of, **settings[name])

    holdout = hold_out(
        known,
        through=trained_through,
        holdout_days=holdout_days,
        exclude_seen=exclude_seen,
        seed=seed,
    )
    metrics: list[Row] = []
    if len(holdout.users) == 0:
        chosen = popularity_name(None) if known.single_date else FALLBACK
        beats, why = False, f"{chosen} serves: {_unmeasured(holdout, holdout_days)}."
    else:
        measured: dict[str, Evaluation] = {}
        for name in settings:
            measured[name] = evaluate(fit(name, holdout.train, holdout.as_of), holdout)
            metrics += measured[name].rows(seed)
        best_baseline = _best(measured, list(BASELINES))
        if candidates:
            best = _best(measured, candidates)
            gain = paired_difference(
                measured[best].per_user[NDCG], measured[best_baseline].per_user[NDCG], seed
            )
            metrics.append(metric_row(best, f"{NDCG}_gain", gain))
            beats = gain.lower > 0
            chosen = best if beats else best_baseline
            why = _verdict(measured, best, best_baseline, gain, holdout)
        else:
            beats, chosen = False, best_baseline
            why = (
                f"{chosen} serves: no candidate was asked for, and it is the best baseline with "
                f"NDCG@10 {_mean(measured[chosen]):.4f} over {_users(holdout)}."
            )
    return Selection(
        model=fit(chosen, known, trained_through),
        chosen=chosen,
        beats_baseline=beats,
        why=why,
        metrics=metrics,
        split=holdout.split,
    )


def _family(name: str) -> type[Recommender]:
    return {"als": ALS, "ease": EASE}.get(name, Popularity)


def _mean(evaluation: Evaluation) -> float:
    return float(evaluation.per_user[NDCG].mean())


def _best(measured: Mapping[str, Evaluation], names: Sequence[str]) -> str:
    """The highest mean NDCG@10; among equals the first named."""
    return max(names, key=lambda name: _mean(measured[name]))


def _users(holdout: Holdout) -> str:
    n = len(holdout.users)
    people = "1 user" if n == 1 else f"{n:,} users"
    if holdout.split == "leave_out":
        return f"{people} with items held out (the data has no times)"
    left = f", {holdout.without_new:,} who took nothing new left out" if holdout.without_new else ""
    return f"{people} active after {holdout.as_of}{left}"


def _verdict(
    measured: Mapping[str, Evaluation],
    best: str,
    best_baseline: str,
    gain: Interval,
    holdout: Holdout,
) -> str:
    """One sentence with the figures of the decision."""
    figures = (
        f"NDCG@10 {_mean(measured[best]):.4f} against {_mean(measured[best_baseline]):.4f} over "
        f"{_users(holdout)}, a difference of {gain.mean:+.4f} (95 % interval {gain.lower:+.4f} to "
        f"{gain.upper:+.4f})"
    )
    if gain.lower > 0:
        return f"{best} serves: it beats the best baseline, {best_baseline}: {figures}."
    return (
        f"{best_baseline} serves: the best candidate, {best}, does not surely beat this best "
        f"baseline: {figures}."
    )


def _unmeasured(holdout: Holdout, holdout_days: int) -> str:
    """Why nobody could be asked."""
    if holdout.split == "leave_out":
        return "nothing could be measured, since no user has two items of which one can be held out"
    if len(holdout.train) == 0:
        return (
            f"nothing could be measured, since there are no rows before the hold-out of "
            f"{holdout_days} days, which begins after {holdout.as_of}"
        )
    if holdout.without_new:
        return (
            f"nothing could be measured, since {holdout.without_new:,} of the users known by "
            f"{holdout.as_of} were active after it and none took anything new"
        )
    return (
        f"nothing could be measured, since no user known by {holdout.as_of} was active in the "
        f"{holdout_days} days after it"
    )
