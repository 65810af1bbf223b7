"""The window before the hold-out, on which parameters are compared, so that it stays unseen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.splits import MAX_USERS, Holdout, hold_out
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.ranking_evaluation import evaluate
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
