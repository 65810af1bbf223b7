"""Chooses the generators that are worth their training: those that add nothing are left out.

A generator that is declared with `must_gain` takes minutes to train. It joins where two stages with
it rank better beyond chance than without it, before the hold-out of the evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.intervals import Interval, paired_difference
from batch_predictions.models.common.ranking_metrics import NDCG_20
from batch_predictions.models.recommender.data.splits import Holdout
from batch_predictions.models.recommender.generators.base import generators
from batch_predictions.models.recommender.generators.candidate_generation import GeneratorEnsemble
from batch_predictions.models.recommender.ranker.two_stage import TwoStageRecommender
from batch_predictions.models.recommender.training.ranking_evaluation import evaluate
from batch_predictions.models.recommender.training.trainer import RankerTrainer


class GeneratorGain(NamedTuple):
    """A comparison of two stages with and without one generator, by NDCG@20.

    Attributes:
        name: of the generator.
        gain: paired difference over users.
        ndcg_with: mean with the generator.
        ndcg_without: mean without it.
    """

    name: str
    gain: Interval
    ndcg_with: float
    ndcg_without: float

    @property
    def is_used(self) -> bool:
        """Returns whether the generator gains more than by chance, and is therefore used."""
        return self.gain.lower > 0


def without_generators(trainer: RankerTrainer, names: Sequence[str]) -> RankerTrainer:
    """The trainer without some generators; all others are used, whatever they gain.

    Args:
        trainer: of any configuration.
        names: of the generators that are left out.
    """
    if not trainer.config.must_gain:
        return trainer
    used = trainer.config.generators or tuple(generators())
    kept = tuple(name for name in used if name not in names)
    return replace(trainer, config=replace(trainer.config, generators=kept, must_gain=()))


def choose_generators(
    trainer: RankerTrainer, holdout: Holdout, ensemble: GeneratorEnsemble
) -> tuple[GeneratorEnsemble, list[GeneratorGain]]:
    """The ensemble without the generators that add nothing, and what those in doubt add.

    Rankers are trained on one half of the users and evaluated on the other, each way.

    Args:
        trainer: `config.must_gain` names the generators in doubt.
        holdout: before that of the evaluation.
        ensemble: fitted on `holdout.train`.
    """
    gains = []
    for name in trainer.config.must_gain:
        smaller = _leave_out(ensemble, name)
        if len(smaller.generators) in (0, len(ensemble.generators)):
            continue
        with_it, without = (_ndcg_at_20(trainer, holdout, tried) for tried in (ensemble, smaller))
        gain = paired_difference(with_it, without, trainer.config.seed)
        result = GeneratorGain(name, gain, float(with_it.mean()), float(without.mean()))
        gains.append(result)
        if not result.is_used:
            ensemble = smaller
        if trainer.progress:
            verdict = "is used" if result.is_used else "is left out"
            trainer.progress(
                f"{name} {verdict}: NDCG@20 of two stages is {without.mean():.4f} without it and "
                f"{with_it.mean():.4f} with it, on {len(with_it):,} users; the difference is {gain}"
            )
    return ensemble, gains


def _leave_out(ensemble: GeneratorEnsemble, name: str) -> GeneratorEnsemble:
    kept = tuple(generator for generator in ensemble.generators if generator.name != name)
    return GeneratorEnsemble(ensemble.items, kept)


def _ndcg_at_20(trainer: RankerTrainer, holdout: Holdout, ensemble: GeneratorEnsemble) -> Doubles:
    """NDCG@20 of each user, by a ranker of the other half of the users; zeros without one."""
    half = np.random.default_rng(trainer.config.seed).permutation(len(holdout.users)) % 2
    values = np.zeros(len(half))
    metadata = trainer.side_information.items()
    users = trainer.side_information.users(holdout.as_of)
    features = trainer.item_features(holdout.train, holdout.as_of, ensemble.items)
    for evaluated in (0, 1):
        dataset = trainer.build_dataset(holdout.take(np.flatnonzero(half != evaluated)), ensemble)
        if not dataset.users:
            continue
        trained = replace(trainer, progress=None).fit_ranker([dataset])
        model = TwoStageRecommender(ensemble, trained.ranker, trained.params, metadata)
        rows = np.flatnonzero(half == evaluated)
        evaluation = evaluate(model, holdout.take(rows), features, users)
        values[rows] = evaluation.per_user[NDCG_20]
    return values
