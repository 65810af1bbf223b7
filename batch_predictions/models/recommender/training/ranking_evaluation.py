"""Evaluates a recommender on a hold-out: one value per user and metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles, Positions
from batch_predictions.models.common.intervals import Interval, Row, bootstrap_interval, metric_row
from batch_predictions.models.common.ranking_metrics import DEPTH, NDCG, compute_metrics
from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.data.interactions import Interactions, positions_in
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.splits import MAX_USERS, Holdout, Split, hold_out
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.trainer import RankerTrainer


def validation_holdout(
    rows: Interactions, through: date, config: TwoStageConfig, max_users: int = MAX_USERS
) -> Holdout:
    """A hold-out before that of the evaluation, whose days are not read.

    Where all rows share one date, other items than those of the evaluation are hidden.

    Args:
        rows: up to `through`.
        through: the last day that is known.
        config: length of the window.
        max_users: users evaluated at most.
    """
    has_times = not rows.has_single_date
    end = through - timedelta(days=config.window_days) if has_times else through
    return hold_out(
        rows.up_to(end) if has_times else rows,
        through=end,
        holdout_days=config.window_days,
        exclude_seen=config.exclude_seen,
        seed=config.seed + 2,
        history_days=config.history_days,
        max_users=max_users,
    )


def metric_alone(
    name: str,
    overrides: Mapping[str, object],
    trainer: RankerTrainer,
    holdout: Holdout,
    metric: str,
) -> Doubles:
    """A metric of every user of a hold-out for a generator alone, (n,).

    Args:
        name: the generator.
        overrides: of its declared parameters.
        trainer: fits it.
        holdout: fits and evaluates it.
        metric: of `ranking_metrics`.
    """
    params = {**trainer.config.generator_params, name: overrides}
    config = replace(trainer.config, generator_params=params)
    fitting = replace(trainer, config=config, progress=None)
    model = fitting.fit_generators(holdout.train, holdout.as_of, [name]).generators[0].model
    item_features = trainer.item_features(holdout.train, holdout.as_of, model.items)
    return evaluate(model, holdout, item_features).per_user[metric]


COVERAGE, NOVELTY = "coverage@10", "novelty@10"


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one candidate.

    Attributes:
        candidate: its name.
        per_user: by metric, a value per user in the order of `Holdout.users`, (n,).
        coverage: share of the known items that are in at least one user's top 10.
        split: how the hold-out was split.
    """

    candidate: str
    per_user: dict[str, Doubles]
    coverage: float
    split: Split

    @property
    def n(self) -> int:
        """Number of evaluated users."""
        return len(self.per_user[NDCG])

    def renamed(self, candidate: str) -> Evaluation:
        """Returns the evaluation under another name of the candidate."""
        return replace(self, candidate=candidate)

    def rows(self, seed: int) -> list[Row]:
        """Rows for `evaluation.model_metrics`: candidate, metric, value, lower, upper, n."""
        rows = [
            metric_row(self.candidate, metric, bootstrap_interval(values, seed))
            for metric, values in self.per_user.items()
        ]
        unknown = float("nan")
        coverage = Interval(self.coverage, unknown, unknown, self.n)
        return [*rows, metric_row(self.candidate, COVERAGE, coverage)]


def evaluate(
    model: Recommender,
    holdout: Holdout,
    item_features: ItemFeatures,
    users: pa.Table | None = None,
) -> Evaluation:
    """Ranks for every user of the hold-out and compares with what they took.

    Args:
        model: fitted on `holdout.train`.
        holdout: users and their relevant items.
        item_features: of the model's items, as of the cut.
        users: demographic traits as of the cut, where known.
    """
    histories = holdout.histories(model.items, users)
    ranking = model.rank(histories, item_features, DEPTH, exclude_seen=holdout.masks_seen)
    return evaluate_lists(model.name, ranking.positions, model.items, holdout, item_features)


def evaluate_lists(
    candidate: str,
    lists: Positions,
    items: pa.StringArray,
    holdout: Holdout,
    item_features: ItemFeatures,
) -> Evaluation:
    """Compares ranked lists with what the users of a hold-out took.

    Args:
        candidate: the name of what ranked them.
        lists: positions in `items`, -1 at the end of short lists, (n, 20).
        items: ids.
        holdout: users and their relevant items.
        item_features: of the items, as of the cut.
    """
    to_holdout = positions_in(items, holdout.item_ids)
    hits = holdout.hits(0, np.where(lists >= 0, to_holdout[np.maximum(lists, 0)], -1))
    relevant = np.diff(holdout.relevant.indptr)
    top10 = lists[:, :10]
    recommended = np.unique(top10[top10 >= 0])
    training_items = len(holdout.train.item_ids)
    return Evaluation(
        candidate=candidate,
        per_user={**compute_metrics(hits, relevant), NOVELTY: _novelty(top10, item_features)},
        coverage=float(len(recommended)) / training_items if training_items else 0.0,
        split=holdout.split,
    )


def _novelty(lists: Positions, item_features: ItemFeatures) -> Doubles:
    """Mean self-information of each list's items, bits; 0 for an empty list, (n,).

    -log2 of the share of all (item, user) pairs that are of the item (Zhou et al. 2010).
    """
    information = -np.log2(np.maximum(item_features.share("users"), 1e-12))
    is_item = lists >= 0
    sums = np.where(is_item, information[np.maximum(lists, 0)], 0.0).sum(axis=1)
    return np.asarray(sums / np.maximum(is_item.sum(axis=1), 1), dtype=np.float64)
