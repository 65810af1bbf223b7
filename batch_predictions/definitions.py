"""What the platform consists of: the one `dg.Definitions`, an explicit list.

Assets are declared with this home's partitions, so the home begins before their modules load.
"""

from __future__ import annotations

import warnings

import dagster as dg

from batch_predictions.settings import Settings
from batch_predictions.sources import registry

# Backfill policies and kinds are marked so; a line for each asset at every start helps nobody.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)


def platform(settings: Settings) -> dg.Definitions:
    """Every asset, job, schedule, sensor and resource of a home folder.

    Raises:
        SourceError: the source cannot be read; the message says what to set.
        HomeError: the home was begun with another source.
    """
    state = registry.initialise_home(settings)

    from batch_predictions.automation.executors import executor_of
    from batch_predictions.automation.jobs import jobs
    from batch_predictions.automation.progress import LOGGER, terminal
    from batch_predictions.automation.schedules import schedules
    from batch_predictions.automation.sensors import sign_ups
    from batch_predictions.evaluation.assets import realized_metrics
    from batch_predictions.features import assets as features
    from batch_predictions.inference.dagster.assets import prediction_asset
    from batch_predictions.inference.dagster.io_manager import JsonPathIOManager
    from batch_predictions.model_store import ModelStore
    from batch_predictions.models import assets as models
    from batch_predictions.models.churn.assets import churn
    from batch_predictions.models.demand.assets import demand
    from batch_predictions.models.sentiment.assets import sentiment
    from batch_predictions.predictions.aspects import aspects
    from batch_predictions.predictions.churn import churn_scores
    from batch_predictions.predictions.demand import demand_forecasts
    from batch_predictions.predictions.fallback import demographic_recommendations
    from batch_predictions.predictions.promotions import promotion_audience
    from batch_predictions.predictions.recommendations import recommendations
    from batch_predictions.predictions.replenishment import replenishment_orders
    from batch_predictions.predictions.retention import retention_audience
    from batch_predictions.predictions.sentiment import item_sentiments, review_sentiments
    from batch_predictions.serving.assets import release_asset
    from batch_predictions.sources import assets as raw
    from batch_predictions.warehouse import Warehouse

    predictions = (
        recommendations,
        demographic_recommendations,
        churn_scores,
        retention_audience,
        promotion_audience,
        review_sentiments,
        item_sentiments,
        aspects,
        demand_forecasts,
        replenishment_orders,
    )
    assets = [
        raw.interactions,
        raw.users,
        raw.items,
        raw.reviews,
        raw.promotions,
        raw.campaign_events,
        raw.promotion_calendar,
        raw.inventory,
        features.user_activity,
        features.item_activity,
        features.user_segments,
        features.item_state,
        features.churn_features,
        features.demand,
        models.recommender,
        models.demographic,
        churn,
        sentiment,
        demand,
        *(prediction_asset(each, settings) for each in predictions),
        realized_metrics,
        release_asset(predictions),
    ]
    planned = jobs(assets)
    return dg.Definitions(
        assets=assets,
        jobs=[each.definition() for each in planned],
        schedules=schedules(settings, state, planned),
        sensors=[sign_ups],
        resources={
            "settings": settings,
            "warehouse": Warehouse.of(settings),
            "models": ModelStore.of(settings),
            "handles": JsonPathIOManager(home=str(settings.home)),
        },
        executor=executor_of(settings),
        loggers={"console": dg.colored_console_logger, LOGGER: terminal},
    )


defs = platform(Settings.load())


def job(name: str) -> dg.JobDefinition:
    """A job by name, for processes that run it."""
    return defs.resolve_job_def(name)
