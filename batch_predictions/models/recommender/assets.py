"""The weekly training of the recommender."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from batch_predictions.models.common.training_cache import FOLDER as CACHE_FOLDER
from batch_predictions.models.recommender.recommender_inputs import (
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
    from matplotlib.figure import Figure

    from batch_predictions.models.recommender.base import Recommender
    from batch_predictions.models.recommender.data.interactions import Interactions
    from batch_predictions.models.recommender.generators.candidate_generation import GeneratorParams
    from batch_predictions.models.recommender.training.parameter_search import ParameterSearch
    from batch_predictions.models.recommender.training.trainer import RankerTrainer


def train_recommender(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Trains two stages and a blend, and compares them with generators and baselines alone.

    Args:
        warehouse, settings: of the home; `settings.recommender` configures the training.
        through: last day that is known.
        progress: receives lines for the log.
    """
    from batch_predictions.models.common.training_cache import TrainingCache
    from batch_predictions.models.recommender.data.interactions import Interactions
    from batch_predictions.models.recommender.recommender_selection import (
        COMBINED_CANDIDATES,
        select,
    )
    from batch_predictions.models.recommender.training.caching_trainer import CachingTrainer

    rows = read_interactions(warehouse, settings, through, training_days(settings))
    interactions = Interactions.from_table(rows.table)
    side = WarehouseSideInformation(warehouse, settings)
    cache = TrainingCache(_cache_folder(settings))
    # The generators that the search fits for its hold-out are those of the newest label window.
    config = two_stage_config(settings, len(interactions))
    declared = CachingTrainer(config, side, progress, rows.user_share, cache)
    search = _search_parameters(interactions, settings, through, declared, progress)
    trainer = search.trainer
    candidates = COMBINED_CANDIDATES if settings.recommender.two_stage else ()
    selection = select(interactions, through, trainer, candidates=candidates)
    cache.remove_unused()
    config = trainer.config
    return Trained(
        write=selection.model.save,
        candidate=selection.candidate,
        beats_baseline=selection.beats_baseline,
        parameters={
            **_model_parameters(selection.model),
            "generator_params": {name: dict(v) for name, v in config.generator_params.items()},
            "objectives": config.objectives,
            "linear_weight": config.linear_weight,
            "tuning": search.summary(),
            "users": rows.users,
            "all_users": rows.all_users,
        },
        why=selection.why + rows.note,
        metrics=[dict(row) for row in selection.metrics],
        figures={"tuning": lambda: _plot_search(search)} if search.trials else {},
    )


def _search_parameters(
    interactions: Interactions,
    settings: Settings,
    through: dt.date,
    trainer: RankerTrainer,
    progress: Callable[[str], None],
) -> ParameterSearch:
    """Searches parameters as the settings say; its trainer has those that were found."""
    from batch_predictions.models.recommender.training.parameter_search import (
        ParameterSearch,
        search_parameters,
    )

    minutes = settings.recommender.tuning_minutes
    if minutes is not None and minutes <= 0:
        return ParameterSearch(trainer)
    previous = _previous_parameters(settings, through)
    search = search_parameters(interactions, through, trainer, minutes, previous)
    if search.why:
        progress(f"parameters are as declared: {search.why}")
    return search


def _plot_search(search: ParameterSearch) -> Figure | None:
    from batch_predictions.models.recommender.training.search_plot import plot_search

    return plot_search(search.trials)


def _cache_folder(settings: Settings) -> Path | None:
    return settings.home / CACHE_FOLDER / "recommender" if settings.training.cache else None


def _previous_parameters(settings: Settings, through: dt.date) -> GeneratorParams:
    """Reads the parameters of the model that served the day before, by generator; else nothing."""
    from batch_predictions.models.model_store import ModelError, ModelStore

    store = ModelStore.of(settings)
    try:
        version = store.version_of("recommender", through - dt.timedelta(days=1))
        parameters = store.manifest("recommender", version).parameters if version else {}
    except ModelError:
        # It only adds a setting to those that are compared.
        return {}
    chosen: GeneratorParams = parameters.get("generator_params", {})
    return chosen


def _model_parameters(model: Recommender) -> dict[str, object]:
    """The parameters of the model that serves; the ranker's columns are in its own manifest."""
    parameters = asdict(model.params)
    parameters.pop("columns", None)
    return parameters


recommender = Training(
    name="recommender",
    description="Candidates of several generators, ranked by gradient-boosted trees and a "
    "conditional logit, or by a blend of the generators' scores, where that beats popularity, the "
    "user's own frequencies and every generator alone on the week held out; fitted again through "
    "the week's Sunday.",
    train=train_recommender,
    extra_tables=(ITEMS, USERS, PROMOTION_CALENDAR),
    kinds=frozenset({"python", "lightgbm"}),
    history_days=training_days,
)
