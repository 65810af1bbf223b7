"""Which recommender may serve: the two stages, if they beat the best of all simpler ones.

Everything learns from the days up to a cut and is asked about the days after it. The two-stage
recommender is promoted only where the 95 % interval of its paired difference in NDCG@10 to the best
baseline lies above zero; every generator alone is a baseline too. Whoever wins learns again from
everything, the days of the contest included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from batch_predictions.models.common.bootstrap import Interval, Row, metric_row, paired_difference
from batch_predictions.models.common.ranking_metrics import NDCG
from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.candidate_generation import Bundle
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts
from batch_predictions.models.recommender.evaluation import (
    Evaluation,
    Holdout,
    Split,
    evaluate,
    hold_out,
)
from batch_predictions.models.recommender.generators.heuristics import OwnHistory, own_history_name
from batch_predictions.models.recommender.generators.popularity import Popularity, popularity_name
from batch_predictions.models.recommender.training.trainer import Course
from batch_predictions.models.recommender.two_stage import TwoStage

TWO_STAGE = "two_stage"
HALF_LIVES = (7, 14, 30)
POPULARITY: dict[str, int | None] = {popularity_name(days): days for days in (None, *HALF_LIVES)}
OWN_HISTORY: dict[str, int | None] = {own_history_name(days): days for days in (None, 90)}
FALLBACK = popularity_name(14)
"""Serves where nothing can be measured: recent taste, over enough days to be steady."""


@dataclass(frozen=True)
class Selection:
    """The contest's result: a model that has learned from everything, and why it is that one."""

    model: Recommender
    chosen: str
    beats_baseline: bool
    why: str
    metrics: list[Row]
    """candidate, metric, value, lower, upper, n; the bounds are 95 %, null where there are none.
    `ndcg@10_gain` is the two stages' paired difference to the best baseline."""
    split: Split
    measured: Mapping[str, Evaluation]


def select(
    interactions: Interactions,
    trained_through: date,
    course: Course,
    *,
    candidates: Sequence[str] = (TWO_STAGE,),
    holdout: Holdout | None = None,
) -> Selection:
    """Fit, measure, decide, refit.

    Args:
        interactions: rows; those after `trained_through` are not looked at.
        trained_through: the last day that is known.
        course: how the two stages are taught; its window is the hold-out's length.
        candidates: `two_stage`, or nothing: then the best baseline serves.
        holdout: asked instead of the last `window_days`.

    Raises:
        ValueError: there are no rows, or an unknown candidate.
    """
    unknown = sorted({*candidates} - {TWO_STAGE})
    if unknown:
        raise ValueError(f"unknown recommenders {unknown}; known is {TWO_STAGE}")
    known = interactions.up_to(trained_through)
    if len(known) == 0:
        raise ValueError(f"no interactions up to {trained_through}: nothing to learn from")
    if holdout is None:
        holdout = hold_out(
            known,
            through=trained_through,
            holdout_days=course.window_days,
            exclude_seen=course.exclude_seen,
            seed=course.seed,
        )
    if len(holdout.users) == 0:
        chosen = popularity_name(None) if known.single_date else FALLBACK
        simple = _alone(course, chosen, known, trained_through)
        why = f"{chosen} serves: {_unmeasured(holdout, course.window_days)}."
        return Selection(simple, chosen, False, why, [], holdout.split, {})
    bundle = course.bundle(holdout.train, holdout.as_of)
    facts = course.facts(holdout.train, holdout.as_of, holdout.train.item_ids)
    measured = _baselines(course, holdout, bundle, facts)
    best_baseline = _best(measured)
    gain: Interval | None = None
    lessons = (
        course.past(holdout.train, holdout.as_of, holdout.split) if TWO_STAGE in candidates else []
    )
    if any(len(each.groups) for each in lessons):
        ranker = course.ranker(lessons)
        model = TwoStage(bundle, ranker.mixed, ranker.params)
        users = course.beside.users(holdout.as_of)
        measured[TWO_STAGE] = evaluate(model, holdout, facts.onto(bundle.items), users)
        gain = paired_difference(
            measured[TWO_STAGE].per_user[NDCG], measured[best_baseline].per_user[NDCG], course.seed
        )
    metrics = [row for each in measured.values() for row in each.rows(course.seed)]
    beats = gain is not None and gain.lower > 0
    if gain is not None:
        metrics.append(metric_row(TWO_STAGE, f"{NDCG}_gain", gain))
    if beats:
        chosen = TWO_STAGE
        # The hold-out, over, is one more lesson; its generators are fitted already.
        ranker = course.ranker([course.lesson(holdout, bundle), *lessons])
        final = course.bundle(known, trained_through)
        winner: Recommender = TwoStage(final, ranker.mixed, ranker.params, course.beside.items())
    else:
        chosen = best_baseline
        winner = _alone(course, chosen, known, trained_through)
    return Selection(
        model=winner,
        chosen=chosen,
        beats_baseline=beats,
        why=_verdict(measured, best_baseline, gain, holdout),
        metrics=metrics,
        split=holdout.split,
        measured=measured,
    )


def _baselines(
    course: Course, holdout: Holdout, bundle: Bundle, facts: ItemFacts
) -> dict[str, Evaluation]:
    """Popularity, own history and every generator alone, on the hold-out."""
    users = course.beside.users(holdout.as_of)
    simple: list[Recommender] = [
        Popularity.fit(holdout.train, holdout.as_of, half_life_days=days)
        for days in POPULARITY.values()
    ]
    if not holdout.masked:
        simple += [
            OwnHistory.fit(holdout.train, holdout.as_of, half_life_days=days)
            for days in OWN_HISTORY.values()
        ]
    measured = {each.name: evaluate(each, holdout, facts, users) for each in simple}
    for member in bundle.members:
        if isinstance(member.model, Popularity | OwnHistory):
            continue
        known = facts.onto(member.model.items)
        evaluation = evaluate(member.model, holdout, known, users)
        measured[member.declared.name] = evaluation.named(member.declared.name)
    return measured


def _alone(course: Course, name: str, known: Interactions, through: date) -> Recommender:
    """A baseline by name, fitted on everything."""
    if name in POPULARITY:
        return Popularity.fit(known, through, half_life_days=POPULARITY[name])
    if name in OWN_HISTORY:
        return OwnHistory.fit(known, through, half_life_days=OWN_HISTORY[name])
    return course.bundle(known, through, [name]).members[0].model


def _mean(evaluation: Evaluation) -> float:
    return float(evaluation.per_user[NDCG].mean())


def _best(measured: Mapping[str, Evaluation]) -> str:
    """The highest mean NDCG@10; among equals the first named."""
    return max(measured, key=lambda name: _mean(measured[name]))


def _users(holdout: Holdout) -> str:
    n = len(holdout.users)
    people = "1 user" if n == 1 else f"{n:,} users"
    if holdout.split == "leave_out":
        return f"{people} with items held out (the data has no times)"
    if holdout.split == "leave_newest":
        return f"{people} with their newest items held out"
    left = f", {holdout.without_new:,} who took nothing new left out" if holdout.without_new else ""
    return f"{people} active after {holdout.as_of}{left}"


def _verdict(
    measured: Mapping[str, Evaluation],
    best_baseline: str,
    gain: Interval | None,
    holdout: Holdout,
) -> str:
    """One sentence with the figures of the decision."""
    of_baseline = f"NDCG@10 {_mean(measured[best_baseline]):.4f} over {_users(holdout)}"
    if gain is None:
        return (
            f"{best_baseline} serves: it is the best baseline with {of_baseline}, and two stages "
            "had no past window to learn from."
        )
    figures = (
        f"NDCG@10 {_mean(measured[TWO_STAGE]):.4f} against {_mean(measured[best_baseline]):.4f} "
        f"over {_users(holdout)}, a difference of {gain.mean:+.4f} (95 % interval "
        f"{gain.lower:+.4f} to {gain.upper:+.4f})"
    )
    if gain.lower > 0:
        return f"{TWO_STAGE} serves: it beats the best baseline, {best_baseline}: {figures}."
    return (
        f"{best_baseline} serves: {TWO_STAGE} does not surely beat this best baseline: {figures}."
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
