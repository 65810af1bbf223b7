"""Trains two stages and a blend beside a hold-out, and evaluates them on it.

With times, they learn from label windows before the hold-out. Where a share of each user's items is
hidden, they learn from half of the hold-out's users and are evaluated on the other half, each way:
generators fitted on a share of a share have other strengths than those that are served, and what is
learnt from these does not hold (recommendations.md). There, the users of one hold-out are
exchangeable; with times they are not, since all of them are of the same days.

A sentence with figures explains which recommender serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

import numpy as np

from batch_predictions.core.arrays import Positions
from batch_predictions.models.common.intervals import Interval
from batch_predictions.models.common.ranking_metrics import DEPTH, NDCG, NDCG_20
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.splits import Holdout
from batch_predictions.models.recommender.generators.candidate_generation import GeneratorEnsemble
from batch_predictions.models.recommender.ranker.two_stage import (
    ExplainedRanking,
    TwoStageRecommender,
    rank_together,
)
from batch_predictions.models.recommender.training.dataset import RankingDataset
from batch_predictions.models.recommender.training.ranking_evaluation import (
    Evaluation,
    evaluate_lists,
)
from batch_predictions.models.recommender.training.trainer import RankerTrainer, TrainedRanker

TWO_STAGE, BLEND = TwoStageRecommender.kind, "blend"


@dataclass(frozen=True)
class CombinedEvaluation:
    """Recommenders of several generators, around one hold-out.

    Attributes:
        trainer: trains them.
        holdout: evaluates them.
        ensemble: fitted on `holdout.train`.
        item_features: of its items, as of the cut.
        halves: positions of the users of each half; empty where label windows are learnt from.
        datasets: of each half, or of the label windows.
        window_rows: rows of the label windows; None: those of `holdout.train`.
    """

    trainer: RankerTrainer
    holdout: Holdout
    ensemble: GeneratorEnsemble
    item_features: ItemFeatures
    halves: tuple[Positions, ...]
    datasets: Sequence[RankingDataset]
    window_rows: Interactions | None = None

    @classmethod
    def prepare(
        cls,
        trainer: RankerTrainer,
        holdout: Holdout,
        ensemble: GeneratorEnsemble,
        item_features: ItemFeatures,
        window_rows: Interactions | None = None,
    ) -> CombinedEvaluation:
        """Builds the ranking datasets that the combined recommenders are trained on.

        Args:
            trainer: trains the recommenders.
            holdout: evaluates them.
            ensemble: fitted on `holdout.train`.
            item_features: as of the cut.
            window_rows: rows of a hold-out of whole days, with days before `holdout.train`, so
                that histories of old label windows are as long as served ones.
        """
        item_features = item_features.reindex(ensemble.items)
        if holdout.split != "leave_out" or len(holdout.users) < 2:
            if holdout.split != "time":
                window_rows = None
            rows = holdout.train if window_rows is None else window_rows
            datasets = trainer.build_datasets(rows, holdout.as_of, holdout.split)
            return cls(trainer, holdout, ensemble, item_features, (), datasets, window_rows)
        is_first = np.random.default_rng(trainer.config.seed).permutation(len(holdout.users)) % 2
        halves = tuple(np.flatnonzero(is_first == half) for half in (0, 1))
        max_users = max(1, trainer.config.labelled_users(holdout.split) // 2)
        datasets = [
            trainer.build_dataset(holdout.take(half), ensemble, max_users) for half in halves
        ]
        return cls(trainer, holdout, ensemble, item_features, halves, datasets)

    @property
    def can_learn(self) -> bool:
        """Whether the datasets have users with a taken candidate, from whom a ranker can learn."""
        has_users = [dataset.users > 0 for dataset in self.datasets]
        return all(has_users) if self.halves else any(has_users)

    def evaluate(self, names: Sequence[str]) -> dict[str, Evaluation]:
        """Evaluates two stages, the blend or both on users from whom they did not learn."""
        everyone = np.arange(len(self.holdout.users))
        if self.halves:
            # The users of a half are ranked by what was learnt from the other half.
            others = reversed(self.datasets)
            parts = [(half, [other]) for half, other in zip(self.halves, others, strict=True)]
        else:
            parts = [(everyone, list(self.datasets))]
        lists = {name: np.empty((len(everyone), DEPTH), dtype=np.int64) for name in names}
        for users, datasets in parts:
            for name, ranking in zip(names, self._rank(names, users, datasets), strict=True):
                lists[name][users] = ranking.positions
        return {
            name: evaluate_lists(
                name, lists[name], self.ensemble.items, self.holdout, self.item_features
            )
            for name in names
        }

    def fit_for_serving(self, name: str, through: date) -> TrainedRanker:
        """Trains two stages or the blend as they were evaluated, on the newest windows.

        The hold-out is a label window too.

        Args:
            name: which of both.
            through: the last day that is known.
        """
        datasets = self.datasets
        if self.window_rows is not None:
            datasets = self.trainer.build_datasets(self.window_rows, through, self.holdout.split)
        elif not self.halves:
            datasets = [self.trainer.build_dataset(self.holdout, self.ensemble), *datasets]
        return self._fit(name, datasets)

    def _rank(
        self, names: Sequence[str], users: Positions, datasets: Sequence[RankingDataset]
    ) -> list[ExplainedRanking]:
        """The lists of some of the hold-out's users by each recommender, learnt from datasets."""
        models = []
        for name in names:
            trained = self._fit(name, datasets)
            models.append(TwoStageRecommender(self.ensemble, trained.ranker, trained.params))
        traits = self.trainer.side_information.users(self.holdout.as_of)
        holdout = self.holdout.take(users)
        return rank_together(
            models,
            holdout.histories(self.ensemble.items, traits),
            self.item_features,
            DEPTH,
            exclude_seen=holdout.masks_seen,
        )

    def _fit(self, name: str, datasets: Sequence[RankingDataset]) -> TrainedRanker:
        if name == BLEND:
            return self.trainer.fit_blend(datasets)
        origin = None
        if self.halves:
            origin = "half of the hold-out" if len(datasets) == 1 else "the hold-out"
        return self.trainer.fit_ranker(datasets, origin)


Gains: TypeAlias = Mapping[str, Interval]
"""Paired differences to the best baseline, by metric."""


def explain_selection(
    serving: str,
    evaluations: Mapping[str, Evaluation],
    baseline: str,
    gains: Mapping[str, Gains],
    holdout: Holdout,
) -> str:
    """Explains in a sentence which recommender serves, with its figures.

    Args:
        serving: name of the candidate that serves.
        evaluations: metrics of all candidates, by name.
        baseline: name of the best baseline.
        gains: differences of the combined recommenders to the baseline, by name and metric.
        holdout: on which all were evaluated.
    """
    baseline_ndcg = mean_ndcg(evaluations[baseline])
    if not gains:
        return (
            f"{baseline} serves: it is the best baseline with NDCG@10 {baseline_ndcg:.4f} over "
            f"{_describe_users(holdout)}, and no combination of several generators was trained."
        )
    figures = "; ".join(
        f"{name} has NDCG@10 {mean_ndcg(evaluations[name]):.4f}, a difference of "
        f"{gain[NDCG].mean:+.4f} (95 % interval {gain[NDCG].lower:+.4f} to {gain[NDCG].upper:+.4f})"
        f", and in NDCG@20 of {gain[NDCG_20].mean:+.4f} ({gain[NDCG_20].lower:+.4f} to "
        f"{gain[NDCG_20].upper:+.4f}){_describe_worse(gain)}"
        for name, gain in gains.items()
    )
    compared = f"{baseline} has NDCG@10 {baseline_ndcg:.4f} over {_describe_users(holdout)}; "
    if serving == baseline:
        names = " nor ".join(gains)
        neither = f"neither {names} beats" if len(gains) > 1 else f"{names} does not beat"
        return (
            f"{baseline} serves: {neither} this best baseline beyond chance: {compared}{figures}."
        )
    return f"{serving} serves: it beats the best baseline, {baseline}: {compared}{figures}."


def explain_missing_users(holdout: Holdout, holdout_days: int) -> str:
    """Explains why the hold-out has no users."""
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


def mean_ndcg(evaluation: Evaluation) -> float:
    """NDCG@10, averaged over users."""
    return float(evaluation.per_user[NDCG].mean())


def _describe_users(holdout: Holdout) -> str:
    n = len(holdout.users)
    users = "1 user" if n == 1 else f"{n:,} users"
    if holdout.split == "leave_out":
        return f"{users} with items held out at random (rows have no times, or one day)"
    if holdout.split == "leave_newest":
        return f"{users} with their newest items held out"
    left_out = ""
    if holdout.users_without_new:
        left_out = f", {holdout.users_without_new:,} who took nothing new left out"
    return f"{users} active after {holdout.as_of}{left_out}"


def _describe_worse(gains: Gains) -> str:
    """The metrics that are worse than the baseline's beyond chance, if any."""
    worse = [metric for metric, gain in gains.items() if gain.upper < 0]
    return f", and a lower {' and '.join(worse)}" if worse else ""
