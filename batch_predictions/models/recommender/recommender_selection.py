"""Selects the recommender that serves: two stages or a blend, if they beat the best simpler one.

All candidates are fitted on the days up to a cut and evaluated on the days after it. Two stages and
the blend are promoted only where the 95 % interval of their paired difference to the best baseline
in NDCG@10 or NDCG@20 is above zero, and that of neither, nor of Recall@20, is below it; every
generator alone is a baseline. Of both, the one of the higher NDCG@10 serves. The selected
recommender is then fitted again on all rows, the hold-out included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from batch_predictions.models.common.intervals import Row, metric_row, paired_difference
from batch_predictions.models.common.ranking_metrics import NDCG, NDCG_20, RECALL
from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.combined_evaluation import (
    BLEND,
    TWO_STAGE,
    CombinedEvaluation,
    Gains,
    explain_missing_users,
    explain_selection,
    mean_ndcg,
)
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.splits import Holdout, Split, hold_out
from batch_predictions.models.recommender.generators.candidate_generation import GeneratorEnsemble
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
from batch_predictions.models.recommender.training.caching_trainer import CachingTrainer
from batch_predictions.models.recommender.training.ranking_evaluation import Evaluation, evaluate
from batch_predictions.models.recommender.training.trainer import RankerTrainer

COMBINED_CANDIDATES = (BLEND, TWO_STAGE)
"""Candidates of several generators, the simpler one first; all others are baselines."""
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
        beats_baseline: whether two stages or the blend serve.
        why: the decision in a sentence, with its figures.
        metrics: rows of `evaluation.model_metrics`; bounds are 95 %. `ndcg@10_gain`, `ndcg@20_gain`
            and `recall@20_gain` are paired differences of two stages, and of the blend, to the best
            baseline.
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
    candidates: Sequence[str] = COMBINED_CANDIDATES,
    holdout: Holdout | None = None,
) -> Selection:
    """Fits and evaluates all candidates, decides which serves, and fits it again.

    Args:
        interactions: rows; those after `trained_through` are not read.
        trained_through: the last day that is known.
        trainer: of the two stages; its window is as long as the hold-out.
        candidates: `blend`, `two_stage`, or nothing: then the best baseline serves.
        holdout: evaluated on instead of the last `window_days`.

    Raises:
        ValueError: there are no rows, or a candidate is unknown.
    """
    unknown = sorted({*candidates} - {*COMBINED_CANDIDATES})
    if unknown:
        raise ValueError(
            f"unknown recommenders {unknown}; known are {', '.join(COMBINED_CANDIDATES)}"
        )
    rows = interactions.up_to(trained_through)
    if len(rows) == 0:
        raise ValueError(f"no interactions up to {trained_through}: nothing to learn from")
    config = trainer.config
    window_rows = None
    if holdout is None:
        # Its days are whole; a given one may begin within a day.
        window_rows = rows
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
    trainer = CachingTrainer.of(trainer)
    return _select(rows, trained_through, trainer, candidates, holdout, window_rows)


def _select(
    rows: Interactions,
    trained_through: date,
    trainer: CachingTrainer,
    candidates: Sequence[str],
    holdout: Holdout,
    window_rows: Interactions | None,
) -> Selection:
    """Fits, evaluates and decides on a hold-out that has users, and fits the winner again."""
    config = trainer.config
    ensemble = trainer.fit_generators(holdout.train, holdout.as_of)
    item_features = trainer.item_features(holdout.train, holdout.as_of, holdout.train.item_ids)
    evaluations = _evaluate_baselines(trainer, holdout, ensemble, item_features)
    best_baseline = _best(evaluations)
    combined = (
        CombinedEvaluation.prepare(trainer, holdout, ensemble, item_features, window_rows)
        if candidates
        else None
    )
    gains: dict[str, Gains] = {}
    if combined is not None and combined.can_learn:
        # In this order: two stages serve only if they are better than the blend.
        names = [name for name in COMBINED_CANDIDATES if name in candidates]
        for name, evaluation in combined.evaluate(names).items():
            evaluations[name] = evaluation
            gains[name] = _gains(evaluation, evaluations[best_baseline], config.seed)
    passed = [name for name in gains if _passes(gains[name])]
    serving = max(passed, key=lambda name: gains[name][NDCG].mean, default=best_baseline)
    if combined is not None and passed:
        trainer.begin_serving()
        trained = combined.fit_for_serving(serving, trained_through)
        winner: Recommender = trainer.build_recommender(rows, trained_through, trained, serving)
    else:
        winner = _fit_baseline(trainer, best_baseline, rows, trained_through)
    metrics = [row for evaluation in evaluations.values() for row in evaluation.rows(config.seed)]
    metrics += [
        metric_row(name, f"{metric}_gain", gain)
        for name, gains_of_name in gains.items()
        for metric, gain in gains_of_name.items()
    ]
    return Selection(
        model=winner,
        candidate=serving,
        beats_baseline=bool(passed),
        why=explain_selection(serving, evaluations, best_baseline, gains, holdout),
        metrics=metrics,
        split=holdout.split,
        evaluations=evaluations,
    )


def _gains(evaluation: Evaluation, baseline: Evaluation, seed: int) -> Gains:
    """Computes paired differences to a baseline, by metric."""
    return {
        metric: paired_difference(evaluation.per_user[metric], baseline.per_user[metric], seed)
        for metric in (NDCG, NDCG_20, RECALL)
    }


def _passes(gains: Gains) -> bool:
    """Returns whether NDCG@10 or @20 is better beyond chance, and no metric is worse."""
    is_better = gains[NDCG].lower > 0 or gains[NDCG_20].lower > 0
    return is_better and all(gain.upper >= 0 for gain in gains.values())


def _without_evaluation(
    trainer: RankerTrainer, interactions: Interactions, through: date, holdout: Holdout
) -> Selection:
    """Returns popularity, which serves where the hold-out has no users."""
    name = popularity_name(None) if interactions.has_single_date else FALLBACK
    model = _fit_baseline(trainer, name, interactions, through)
    why = f"{name} serves: {explain_missing_users(holdout, trainer.config.window_days)}."
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


def _best(evaluations: Mapping[str, Evaluation]) -> str:
    """The candidate of the highest mean NDCG@10; of equal ones the first."""
    return max(evaluations, key=lambda name: mean_ndcg(evaluations[name]))
