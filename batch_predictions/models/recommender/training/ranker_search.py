"""Chooses the members of a ranker: LightGBM's objectives, and the weight of the linear model.

LambdaRank ranks best where lists hold several items that are taken, and worst where they hold
hardly one (recommendations). The members are fitted once on two thirds of the labelled users, and
their sums are compared on the last third.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.intervals import paired_difference
from batch_predictions.models.common.ranking_metrics import ndcg
from batch_predictions.models.recommender.ranker.conditional_logit import (
    ConditionalLogit,
    linear_weight,
)
from batch_predictions.models.recommender.ranker.gbdt_ranker import GBDTRanker
from batch_predictions.models.recommender.ranker.ranker_ensemble import RankerEnsemble
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.dataset import RankingDataset
from batch_predictions.models.recommender.training.trainer import RankerTrainer

MIN_USERS = 2_400
"""Labelled users with fewer of which the declared members stay: a third of them compare."""
OBJECTIVE_SETS = (None, ("rank_xendcg",))
"""LightGBM objectives that are compared; None: the declared ones."""
LINEAR_WEIGHTS = (0.5, 1.0, 2.0)


class MemberComparison(NamedTuple):
    """Members, and their mean NDCG@20 over users."""

    setting: dict[str, Any]
    users: int
    ndcg: float


def choose_members(
    trainer: RankerTrainer, dataset: RankingDataset
) -> tuple[TwoStageConfig, list[MemberComparison]]:
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
    configs, values = _evaluate(trainer, (declared, *LINEAR_WEIGHTS), train, test)
    best = int(np.argmax([value.mean() for value in values]))
    if not paired_difference(values[best], values[0], config.seed).exceeds_standard_error:
        best = 0
    compared = [
        MemberComparison(_describe(config), len(value), float(value.mean()))
        for config, value in zip(configs, values, strict=True)
    ]
    if trainer.progress:
        chosen = f"{compared[best].ndcg:.4f} with {compared[best].setting}"
        trainer.progress(
            f"ranker: {len(compared)} sets of members compared on {compared[0].users:,} users: "
            f"NDCG@20 {compared[0].ndcg:.4f} as declared, {chosen if best else 'none is better'}"
        )
    return (configs[best] if best else config), compared


def _evaluate(
    trainer: RankerTrainer,
    weights: Sequence[float],
    train: RankingDataset,
    test: RankingDataset,
) -> tuple[list[TwoStageConfig], list[Doubles]]:
    """Every set of objectives with every linear weight, and NDCG@20 of every user of `test`.

    Each member is fitted once.
    """
    params = trainer.model_params(len(train.labels), train.users)
    names = [column.name for column in train.columns]
    trees = GBDTRanker.fit(params, train.features, train.labels, train.sizes, names)
    linear = ConditionalLogit.fit(train.features, train.labels, train.sizes, train.columns)
    configs, values = [], []
    for objectives in OBJECTIVE_SETS:
        config = replace(trainer.config, objectives=objectives or trainer.config.objectives)
        allowed = config.objectives
        places = [n for n, p in enumerate(params) if allowed is None or p["objective"] in allowed]
        members = RankerEnsemble.from_members(
            trees.take(places), linear, 1.0, train.features, train.sizes
        )
        assert members.trees is not None and members.linear is not None
        tree_margins = members.trees.margins(test.features)
        linear_margins = members.linear.margins(test.features, test.sizes)
        for weight in weights:
            configs.append(replace(config, linear_weight=weight))
            values.append(_ndcg_at_20(tree_margins + weight * linear_margins, test))
    return configs, values


def _describe(config: TwoStageConfig) -> dict[str, object]:
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
