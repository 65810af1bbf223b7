"""Which members a ranker has: LightGBM's objectives, and the weight of the linear model.

LambdaRank ranks best where lists hold several items that are taken, and worst where they hold
hardly one (docs/quality.md). The members are fitted once on two thirds of the labelled users, and
their sums are compared on the last third.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from batch_predictions.models.common.bootstrap import Doubles, paired_difference
from batch_predictions.models.common.ranking_metrics import ndcg
from batch_predictions.models.recommender.config import TwoStageConfig
from batch_predictions.models.recommender.ranker.conditional_logit import linear_weight
from batch_predictions.models.recommender.training.dataset import RankingDataset
from batch_predictions.models.recommender.training.trainer import RankerTrainer

MIN_USERS = 2_400
"""Labelled users with fewer of which the declared members stay: a third of them compare."""
OBJECTIVES = (None, ("rank_xendcg",))
LINEAR_WEIGHTS = (0.5, 1.0, 2.0)


class Compared(NamedTuple):
    """Members, and their mean NDCG@20 over users."""

    setting: dict[str, Any]
    users: int
    ndcg: float


def choose_members(
    trainer: RankerTrainer, dataset: RankingDataset
) -> tuple[TwoStageConfig, list[Compared]]:
    """The configuration with the members that rank best, and all that were compared.

    The declared members come first, and stay where no others are better by more than one standard
    error.

    Args:
        trainer: its configuration has the generators' parameters already.
        dataset: of a window before the hold-out of the evaluation.
    """
    config = trainer.config
    if dataset.users < MIN_USERS:
        return config, []
    is_evaluated = np.random.default_rng(config.seed).permutation(dataset.users) % 3 == 0
    train, test = dataset.take_lists(~is_evaluated), dataset.take_lists(is_evaluated)
    declared = config.linear_weight
    if declared is None:
        declared = linear_weight(dataset.users, config.exclude_seen)
    configs, values = [], []
    for objectives in OBJECTIVES:
        fitting = replace(config, objectives=objectives or config.objectives, linear_weight=1.0)
        fitted = replace(trainer, config=fitting, progress=None).fit_ranker([train]).ranker
        assert fitted.trees is not None and fitted.linear is not None
        trees = fitted.trees.margins(test.features)
        linear = fitted.linear.margins(test.features, test.sizes)
        for weight in (declared, *LINEAR_WEIGHTS):
            configs.append(replace(fitting, linear_weight=weight))
            values.append(_ndcg_at_20(trees + weight * linear, test))
    best = int(np.argmax([value.mean() for value in values]))
    gain = paired_difference(values[best], values[0], config.seed)
    if gain.mean <= (gain.upper - gain.lower) / 4:
        best = 0
    compared = [
        Compared(_describe(config), len(value), float(value.mean()))
        for config, value in zip(configs, values, strict=True)
    ]
    if trainer.progress:
        trainer.progress(
            f"ranker: {len(values)} sets of members compared on {len(values[0]):,} users: NDCG@20 "
            f"{values[0].mean():.4f} as declared, "
            + (
                f"{values[best].mean():.4f} with {compared[best].setting}"
                if best
                else "none is better"
            )
        )
    return (configs[best] if best else config), compared


def _describe(config: TwoStageConfig) -> dict[str, Any]:
    objectives = "all" if config.objectives is None else ", ".join(config.objectives)
    return {"objectives": objectives, "linear_weight": config.linear_weight}


def _ndcg_at_20(margins: Doubles, dataset: RankingDataset) -> Doubles:
    """NDCG@20 of each user's candidates by margin; equal ones in their order, (users,)."""
    list_of_row = np.repeat(np.arange(dataset.users), dataset.sizes)
    order = np.lexsort((-margins, list_of_row))
    ranks = np.arange(len(margins)) - np.repeat(
        np.cumsum(dataset.sizes) - dataset.sizes, dataset.sizes
    )
    hits = np.zeros((dataset.users, 20), dtype=bool)
    is_top = ranks < 20
    hits[list_of_row[is_top], ranks[is_top]] = dataset.labels[order][is_top] > 0
    relevant = np.bincount(list_of_row, dataset.labels, minlength=dataset.users)
    return ndcg(hits, relevant.astype(np.int64))
