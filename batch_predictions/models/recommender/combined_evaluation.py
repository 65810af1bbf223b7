"""Trains two stages and a blend beside a hold-out, and evaluates them on it.

With times, they learn from label windows before the hold-out. Where a share of each user's items is
hidden, they learn from half of the hold-out's users and are evaluated on the other half, each way:
generators fitted on a share of a share have other strengths than those that are served, and what is
learnt from these does not hold (docs/quality.md). There, the users of one hold-out are
exchangeable; with times they are not, since all of them are of the same days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batch_predictions.models.recommender.candidate_generation import GeneratorEnsemble
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.splits import Holdout, Positions
from batch_predictions.models.recommender.evaluation import (
    Evaluation,
    evaluate,
    evaluate_lists,
    rank_users,
)
from batch_predictions.models.recommender.training.dataset import RankingDataset
from batch_predictions.models.recommender.training.trainer import RankerTrainer, TrainedRanker
from batch_predictions.models.recommender.two_stage import TwoStageRecommender

TWO_STAGE, BLEND = TwoStageRecommender.kind, "blend"


@dataclass(frozen=True)
class Combined:
    """Recommenders of several generators, around one hold-out.

    Attributes:
        trainer: trains them.
        holdout: evaluates them.
        ensemble: fitted on `holdout.train`.
        item_features: of its items, as of the cut.
        halves: positions of the users of each half; empty where label windows are learnt from.
        datasets: of each half, or of the label windows.
    """

    trainer: RankerTrainer
    holdout: Holdout
    ensemble: GeneratorEnsemble
    item_features: ItemFeatures
    halves: tuple[Positions, ...]
    datasets: Sequence[RankingDataset]

    @classmethod
    def prepare(
        cls,
        trainer: RankerTrainer,
        holdout: Holdout,
        ensemble: GeneratorEnsemble,
        item_features: ItemFeatures,
    ) -> Combined:
        """Builds the datasets."""
        item_features = item_features.reindex(ensemble.items)
        if holdout.split != "leave_out" or len(holdout.users) < 2:
            datasets = trainer.build_datasets(holdout.train, holdout.as_of, holdout.split)
            return cls(trainer, holdout, ensemble, item_features, (), datasets)
        is_first = np.random.default_rng(trainer.config.seed).permutation(len(holdout.users)) % 2
        halves = tuple(np.flatnonzero(is_first == half) for half in (0, 1))
        max_users = max(1, trainer.config.labelled_users(holdout.split) // 2)
        datasets = [
            trainer.build_dataset(holdout.take(half), ensemble, max_users) for half in halves
        ]
        return cls(trainer, holdout, ensemble, item_features, halves, datasets)

    @property
    def can_learn(self) -> bool:
        """Whether there is something to learn from."""
        has_users = [dataset.users > 0 for dataset in self.datasets]
        return all(has_users) if self.halves else any(has_users)

    def evaluate(self, name: str) -> Evaluation:
        """Two stages or the blend on the hold-out, whose users they did not learn from."""
        users = self.trainer.side_information.users(self.holdout.as_of)
        if not self.halves:
            model = self._recommender(name, self.datasets)
            return evaluate(model, self.holdout, self.item_features, users)
        lists: Positions | None = None
        for half, learnt_from in zip(self.halves, reversed(self.datasets), strict=True):
            model = self._recommender(name, [learnt_from])
            ranked = rank_users(model, self.holdout.take(half), self.item_features, users)
            if lists is None:
                lists = np.empty((len(self.holdout.users), ranked.shape[1]), dtype=np.int64)
            lists[half] = ranked
        assert lists is not None
        items = self.ensemble.items
        return evaluate_lists(name, lists, items, self.holdout, self.item_features)

    def fit_for_serving(self, name: str) -> TrainedRanker:
        """Two stages or the blend trained on all there is: the hold-out is a label window too."""
        datasets = self.datasets
        if not self.halves:
            datasets = [self.trainer.build_dataset(self.holdout, self.ensemble), *datasets]
        return self._fit(name, datasets)

    def _recommender(self, name: str, datasets: Sequence[RankingDataset]) -> TwoStageRecommender:
        trained = self._fit(name, datasets)
        return TwoStageRecommender(self.ensemble, trained.ranker, trained.params, name=name)

    def _fit(self, name: str, datasets: Sequence[RankingDataset]) -> TrainedRanker:
        is_blend = name == BLEND
        return self.trainer.fit_blend(datasets) if is_blend else self.trainer.fit_ranker(datasets)
