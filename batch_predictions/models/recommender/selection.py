"""Selects the recommender that serves: two stages, if they beat the best simpler one.

All candidates are fitted on the days up to a cut and evaluated on the days after it. Two stages are
promoted only where the 95 % interval of their paired difference in NDCG@10 to the best baseline
is above zero; every generator alone is a baseline too. The selected recommender is then fitted
again on all rows, the hold-out included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from batch_predictions.models.common.bootstrap import (
    Interval,
    Row,
    metric_row,
    paired_difference,
)
from batch_predictions.models.common.ranking_metrics import NDCG
from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.candidate_generation import GeneratorEnsemble
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.splits import Holdout, Split, hold_out
from batch_predictions.models.recommender.evaluation import Evaluation, evaluate
from batch_predictions.models.recommender.generators.popularity import (
    Popularity,
    PopularityParams,
    popularity_name,
)
from batch_predictions.models.recommender.generators.user_frequency import (
    UserFrequency,
    UserFrequencyParams,
    user_frequency_name,
)
from batch_predictions.models.recommender.training.dataset import RankingDataset
from batch_predictions.models.recommender.training.trainer import RankerTrainer
from batch_predictions.models.recommender.two_stage import TwoStageRecommender

TWO_STAGE = TwoStageRecommender.kind
POPULARITY_BASELINES = {popularity_name(days): PopularityParams(days) for days in (None, 7, 14, 30)}
USER_FREQUENCY_BASELINES = {
    user_frequency_name(days): UserFrequencyParams(days) for days in (None, 90)
}
FALLBACK = popularity_name(14)
"""Serves where nothing can be evaluated: recent popularity, over enough days to be steady."""


@dataclass(frozen=True)
class Selection:
    """The recommender that serves, and why.

    Attributes:
        model: fitted on all rows.
        candidate: its name among the candidates.
        beats_baseline: whether two stages beat the best baseline.
        why: the decision in a sentence, with its figures.
        metrics: rows of `evaluation.model_metrics`; bounds are 95 %. `ndcg@10_gain` is the paired
            difference of two stages to the best baseline.
        split: how the hold-out was split.
        evaluations: of every candidate, by name.
    """

    model: Recommender
    candidate: str
    beats_baseline: bool
    why: str
    metrics: list[Row]
    split: Split
    evaluations: Mapping[str, Evaluation]


def select(
    interactions: Interactions,
    trained_through: date,
    trainer: RankerTrainer,
    *,
    candidates: Sequence[str] = (TWO_STAGE,),
    holdout: Holdout | None = None,
) -> Selection:
    """Fits, evaluates, decides and fits the winner again.

    Args:
        interactions: rows; those after `trained_through` are not read.
        trained_through: the last day that is known.
        trainer: of the two stages; its window is as long as the hold-out.
        candidates: `two_stage`, or nothing: then the best baseline serves.
        holdout: evaluated on instead of the last `window_days`.

    Raises:
        ValueError: there are no rows, or a candidate is unknown.
    """
    unknown = sorted({*candidates} - {TWO_STAGE})
    if unknown:
        raise ValueError(f"unknown recommenders {unknown}; known is {TWO_STAGE}")
    rows = interactions.up_to(trained_through)
    if len(rows) == 0:
        raise ValueError(f"no interactions up to {trained_through}: nothing to learn from")
    config = trainer.config
    if holdout is None:
        holdout = hold_out(
            rows,
            through=trained_through,
            holdout_days=config.window_days,
            exclude_seen=config.exclude_seen,
            seed=config.seed,
            history_days=config.history_days,
        )
    if len(holdout.users) == 0:
        return _without_evaluation(trainer, rows, trained_through, holdout)
    return _select(rows, trained_through, trainer, candidates, holdout)


def _select(
    rows: Interactions,
    trained_through: date,
    trainer: RankerTrainer,
    candidates: Sequence[str],
    holdout: Holdout,
) -> Selection:
    """The same on a hold-out that has users."""
    config = trainer.config
    ensemble = trainer.fit_generators(holdout.train, holdout.as_of)
    item_features = trainer.item_features(holdout.train, holdout.as_of, holdout.train.item_ids)
    evaluations = _evaluate_baselines(trainer, holdout, ensemble, item_features)
    best_baseline = _best(evaluations)
    datasets: list[RankingDataset] = []
    if TWO_STAGE in candidates:
        datasets = trainer.build_datasets(holdout.train, holdout.as_of, holdout.split)
    gain: Interval | None = None
    if any(dataset.users for dataset in datasets):
        evaluation = _evaluate_two_stage(trainer, holdout, ensemble, item_features, datasets)
        baseline_ndcg = evaluations[best_baseline].per_user[NDCG]
        gain = paired_difference(evaluation.per_user[NDCG], baseline_ndcg, config.seed)
        evaluations[TWO_STAGE] = evaluation
    beats_baseline = gain is not None and gain.lower > 0
    if beats_baseline:
        # The hold-out has become a label window, for which the generators are fitted already.
        trained = trainer.fit_ranker([trainer.build_dataset(holdout, ensemble), *datasets])
        winner: Recommender = trainer.build_recommender(rows, trained_through, trained)
    else:
        winner = _fit_baseline(trainer, best_baseline, rows, trained_through)
    metrics = [row for evaluation in evaluations.values() for row in evaluation.rows(config.seed)]
    if gain is not None:
        metrics.append(metric_row(TWO_STAGE, f"{NDCG}_gain", gain))
    return Selection(
        model=winner,
        candidate=TWO_STAGE if beats_baseline else best_baseline,
        beats_baseline=beats_baseline,
        why=_explain(evaluations, best_baseline, gain, holdout),
        metrics=metrics,
        split=holdout.split,
        evaluations=evaluations,
    )


def _evaluate_two_stage(
    trainer: RankerTrainer,
    holdout: Holdout,
    ensemble: GeneratorEnsemble,
    item_features: ItemFeatures,
    datasets: Sequence[RankingDataset],
) -> Evaluation:
    """Two stages, trained before the hold-out, on the hold-out."""
    trained = trainer.fit_ranker(datasets)
    model = TwoStageRecommender(ensemble, trained.ranker, trained.params)
    users = trainer.side_information.users(holdout.as_of)
    return evaluate(model, holdout, item_features.reindex(ensemble.items), users)


def _without_evaluation(
    trainer: RankerTrainer, interactions: Interactions, through: date, holdout: Holdout
) -> Selection:
    """Popularity serves where the hold-out has no users."""
    name = popularity_name(None) if interactions.has_single_date else FALLBACK
    model = _fit_baseline(trainer, name, interactions, through)
    why = f"{name} serves: {_explain_missing_users(holdout, trainer.config.window_days)}."
    return Selection(model, name, False, why, [], holdout.split, {})


def _evaluate_baselines(
    trainer: RankerTrainer,
    holdout: Holdout,
    ensemble: GeneratorEnsemble,
    item_features: ItemFeatures,
) -> dict[str, Evaluation]:
    """Popularity, the user's own frequencies and every generator alone, on the hold-out."""
    users = trainer.side_information.users(holdout.as_of)
    baselines: list[Recommender] = [
        Popularity.fit(holdout.train, holdout.as_of, params)
        for params in POPULARITY_BASELINES.values()
    ]
    if not holdout.masks_seen or holdout.train.has_unseen:
        baselines += [
            UserFrequency.fit(holdout.train, holdout.as_of, params)
            for params in USER_FREQUENCY_BASELINES.values()
        ]
    evaluations = {
        model.name: evaluate(model, holdout, item_features, users) for model in baselines
    }
    for generator in ensemble.generators:
        if isinstance(generator.model, Popularity | UserFrequency):
            continue
        features = item_features.reindex(generator.model.items)
        evaluation = evaluate(generator.model, holdout, features, users)
        evaluations[generator.name] = evaluation.renamed(generator.name)
    return evaluations


def _fit_baseline(
    trainer: RankerTrainer, name: str, interactions: Interactions, through: date
) -> Recommender:
    """A baseline by name, fitted on all rows."""
    rows = interactions.up_to(through, trainer.config.history_days)
    if name in POPULARITY_BASELINES:
        return Popularity.fit(rows, through, POPULARITY_BASELINES[name])
    if name in USER_FREQUENCY_BASELINES:
        return UserFrequency.fit(rows, through, USER_FREQUENCY_BASELINES[name])
    return trainer.fit_generators(interactions, through, [name]).generators[0].model


def _mean(evaluation: Evaluation) -> float:
    return float(evaluation.per_user[NDCG].mean())


def _best(evaluations: Mapping[str, Evaluation]) -> str:
    """The candidate of the highest mean NDCG@10; of equal ones the first."""
    return max(evaluations, key=lambda name: _mean(evaluations[name]))


def _describe_users(holdout: Holdout) -> str:
    n = len(holdout.users)
    users = "1 user" if n == 1 else f"{n:,} users"
    if holdout.split == "leave_out":
        return f"{users} with items held out (the data has no times)"
    if holdout.split == "leave_newest":
        return f"{users} with their newest items held out"
    left_out = ""
    if holdout.users_without_new:
        left_out = f", {holdout.users_without_new:,} who took nothing new left out"
    return f"{users} active after {holdout.as_of}{left_out}"


def _explain(
    evaluations: Mapping[str, Evaluation],
    baseline: str,
    gain: Interval | None,
    holdout: Holdout,
) -> str:
    """The decision in a sentence with its figures."""
    baseline_ndcg = _mean(evaluations[baseline])
    if gain is None:
        return (
            f"{baseline} serves: it is the best baseline with NDCG@10 {baseline_ndcg:.4f} over "
            f"{_describe_users(holdout)}, and two stages had no past window to learn from."
        )
    figures = (
        f"NDCG@10 {_mean(evaluations[TWO_STAGE]):.4f} against {baseline_ndcg:.4f} "
        f"over {_describe_users(holdout)}, a difference of {gain.mean:+.4f} (95 % interval "
        f"{gain.lower:+.4f} to {gain.upper:+.4f})"
    )
    if gain.lower > 0:
        return f"{TWO_STAGE} serves: it beats the best baseline, {baseline}: {figures}."
    return (
        f"{baseline} serves: {TWO_STAGE} does not beat this best baseline beyond chance: {figures}."
    )


def _explain_missing_users(holdout: Holdout, holdout_days: int) -> str:
    """Why the hold-out has no users."""
    if holdout.split == "leave_out":
        return "nothing could be evaluated, since no user has two items of which to hide one"
    if len(holdout.train) == 0:
        return (
            f"nothing could be evaluated, since there are no rows before the hold-out of "
            f"{holdout_days} days, which begins after {holdout.as_of}"
        )
    if holdout.users_without_new:
        return (
            f"nothing could be evaluated, since {holdout.users_without_new:,} of the users known "
            f"by {holdout.as_of} were active after it and none took anything new"
        )
    return (
        f"nothing could be evaluated, since no user known by {holdout.as_of} was active in the "
        f"{holdout_days} days after it"
    )
