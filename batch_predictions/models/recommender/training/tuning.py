"""Parameters by search: on a window before the hold-out, so that the contest stays clean.

Each generator is tuned alone on the validation window's NDCG@10, then the ranker on the same window
over lessons before it (Optuna's TPE: Akiba et al. 2019, "Optuna: A Next-generation Hyperparameter
Optimization Framework").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from batch_predictions.models.common.ranking_metrics import NDCG
from batch_predictions.models.recommender.candidate_generation import DECLARED
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.evaluation import Holdout, evaluate, hold_out
from batch_predictions.models.recommender.ranker.gbdt_ranker import RANKER
from batch_predictions.models.recommender.training.trainer import Course
from batch_predictions.models.recommender.two_stage import TwoStage

if TYPE_CHECKING:
    import optuna

Space = Callable[["optuna.Trial"], dict[str, Any]]

GENERATOR_SPACES: dict[str, Space] = {
    "als": lambda trial: {
        "regularization": trial.suggest_float("regularization", 1.0, 200.0, log=True),
        "alpha": trial.suggest_float("alpha", 0.1, 40.0, log=True),
    },
    "ease": lambda trial: {"l2": trial.suggest_float("l2", 3.0, 1000.0, log=True)},
    "graph_filter": lambda trial: {
        "weight": trial.suggest_float("weight", 0.01, 3.0, log=True),
        "factors": trial.suggest_int("factors", 8, 128, log=True),
    },
    "item_neighbours": lambda trial: {
        "newest_days": trial.suggest_int("newest_days", 1, 90, log=True)
    },
    "current_neighbours": lambda trial: {
        "target_half_life_days": trial.suggest_int("target_half_life_days", 3, 90, log=True)
    },
    "sequence_ease": lambda trial: {"l2": trial.suggest_float("l2", 200.0, 20_000.0, log=True)},
    "own_history": lambda trial: {
        "half_life_days": trial.suggest_int("half_life_days", 20, 200, log=True)
    },
}


def ranker_space(trial: optuna.Trial) -> dict[str, Any]:
    """LightGBM's parameters, alike for all objectives; leaves are each objective's own."""
    return {
        "rounds": trial.suggest_int("rounds", 40, 100),
        "learning_rate": trial.suggest_float("learning_rate", 0.04, 0.2, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 20, 500, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.2, 1.0),
        "lambda_l2": trial.suggest_float("lambda_l2", 1.0, 100.0, log=True),
        "lambdarank_truncation_level": trial.suggest_int("lambdarank_truncation_level", 10, 40),
    }


def tuned(interactions: Interactions, through: date, course: Course, trials: int) -> Course:
    """The course with the best parameters found in `trials` trials, half of them the ranker's.

    The hold-out's days, the last `window_days`, are not looked at. Where the days before it hold
    nobody to ask, the course comes back as it was.
    """
    known = interactions.up_to(through)
    timed = not known.single_date
    end = through - timedelta(days=course.window_days) if timed else through
    holdout = hold_out(
        known.up_to(end) if timed else known,
        through=end,
        holdout_days=course.window_days,
        exclude_seen=course.exclude_seen,
        seed=course.seed + 2,
    )
    if not len(holdout.users):
        return course
    names = [name for name in course.names(holdout.as_of) if name in GENERATOR_SPACES]
    of_ranker = (trials + 1) // 2
    params = {name: dict(each) for name, each in course.params.items()}
    for place, name in enumerate(names):
        share = (trials - of_ranker + place) // len(names)
        if share:
            found = _generator(name, share, course, holdout)
            params[name] = {**params.get(name, {}), **found}
    course = replace(course, params=params)
    return replace(course, ranker_params=_ranker(of_ranker, course, holdout))


def _generator(name: str, trials: int, course: Course, holdout: Holdout) -> dict[str, Any]:
    """A generator's best parameters, alone."""

    def objective(trial: optuna.Trial) -> float:
        chosen = GENERATOR_SPACES[name](trial)
        changed = {**course.params, name: {**course.params.get(name, {}), **chosen}}
        bundle = replace(course, params=changed, say=None).bundle(
            holdout.train, holdout.as_of, [name]
        )
        model = bundle.members[0].model
        facts = course.facts(holdout.train, holdout.as_of, model.items)
        return float(evaluate(model, holdout, facts).per_user[NDCG].mean())

    declared = DECLARED[name].new_items if course.exclude_seen else DECLARED[name].repeats
    known = {**declared, **course.params.get(name, {})}
    return _best(objective, trials, course, name, known)


def _ranker(trials: int, course: Course, holdout: Holdout) -> dict[str, Any]:
    """The ranker's best parameters over fixed generators and lessons."""
    bundle = course.bundle(holdout.train, holdout.as_of)
    facts = course.facts(holdout.train, holdout.as_of, bundle.items)
    users = course.beside.users(holdout.as_of)
    lessons = course.past(holdout.train, holdout.as_of)
    if not any(len(each.groups) for each in lessons):
        return dict(course.ranker_params)

    def objective(trial: optuna.Trial) -> float:
        chosen = {**course.ranker_params, **ranker_space(trial)}
        ranker = replace(course, ranker_params=chosen, say=None).ranker(lessons)
        model = TwoStage(bundle, ranker.mixed, ranker.params)
        return float(evaluate(model, holdout, facts, users).per_user[NDCG].mean())

    known = {**RANKER, **course.ranker_params}
    return {**course.ranker_params, **_best(objective, trials, course, "ranker", known)}


def _best(
    objective: Callable[[optuna.Trial], float],
    trials: int,
    course: Course,
    what: str,
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """The best of the values that are `known`, tried first, and of those that Optuna proposes:
    what comes of it is, on the validation window, no worse than what was there."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=course.seed)
    )
    study.enqueue_trial(dict(known))
    study.optimize(objective, n_trials=trials)
    if course.say:
        course.say(
            f"tuned {what} in {trials} trials: NDCG@10 {study.best_value:.4f}, "
            f"{study.trials[0].value:.4f} before, with {study.best_params}"
        )
    return dict(study.best_params)
