"""The weekly training of the recommender."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from batch_predictions.models.recommender.warehouse_inputs import (
    WarehouseSideInformation,
    read_interactions,
    training_days,
    two_stage_config,
)
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import Settings
from batch_predictions.tables import ITEMS, PROMOTION_CALENDAR, USERS
from batch_predictions.warehouse import Warehouse

if TYPE_CHECKING:
    from batch_predictions.models.recommender.base import Recommender


def train_recommender(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Two stages against popularity, the user's own frequencies and every generator alone."""
    from batch_predictions.models.recommender.data.interactions import Interactions
    from batch_predictions.models.recommender.selection import TWO_STAGE, select
    from batch_predictions.models.recommender.training.parameter_steps import choose_by_steps
    from batch_predictions.models.recommender.training.trainer import RankerTrainer
    from batch_predictions.models.recommender.training.tuning import tune

    rows = read_interactions(warehouse, settings, through, training_days(settings))
    interactions = Interactions.from_table(rows)
    trainer = RankerTrainer(
        two_stage_config(settings), WarehouseSideInformation(warehouse, settings), progress
    )
    trials = settings.recommender.tuning_trials
    if trials is None:
        trainer = choose_by_steps(interactions, through, trainer)
    elif trials:
        trainer = tune(interactions, through, trainer, trials)
    candidates = (TWO_STAGE,) if settings.recommender.two_stage else ()
    selection = select(interactions, through, trainer, candidates=candidates)
    overrides = trainer.config.generator_params
    generator_params = {name: dict(values) for name, values in overrides.items()}
    return Trained(
        write=selection.model.save,
        candidate=selection.candidate,
        beats_baseline=selection.beats_baseline,
        parameters={**_model_parameters(selection.model), "generator_params": generator_params},
        why=selection.why,
        metrics=[dict(row) for row in selection.metrics],
    )


def _model_parameters(model: Recommender) -> dict[str, Any]:
    """The parameters of the model that serves; the ranker's columns are in its own manifest."""
    parameters = asdict(model.params)
    parameters.pop("columns", None)
    return parameters


recommender = Training(
    name="recommender",
    description="Candidates of several generators, ranked by gradient-boosted trees and a "
    "conditional logit where that beats popularity, the user's own frequencies and every generator "
    "alone on the week held out; fitted again through the week's Sunday.",
    train=train_recommender,
    extra_tables=(ITEMS, USERS, PROMOTION_CALENDAR),
    kinds=frozenset({"python", "lightgbm"}),
    history_days=training_days,
)
