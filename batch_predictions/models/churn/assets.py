"""The weekly training of churn, a predictive query, as a Dagster asset."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from batch_predictions.features.history.churn_history import churn_history, churn_query
from batch_predictions.models.queries.query_training import days_read, train_query, trained_of
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import Settings
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.sources import source_registry
from batch_predictions.tables import CAMPAIGN_EVENTS, INTERACTIONS, ITEMS, USERS
from batch_predictions.warehouse import Warehouse


def train_churn(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Compares candidates and baselines on past customers and fits the one that serves.

    Args:
        warehouse: purchases up to `through`.
        settings: of this home; those under `churn` say who is active, and who has churned.
        through: last day whose purchases are known to the training.
        progress: receives lines for the log.
    """
    config, query = settings.churn, _query(settings)
    history = churn_history(query, source_registry.event_types(settings))
    selection = train_query(warehouse, settings, query, through, progress, history=history)
    parameters = {
        "active_days": config.active_days,
        "horizon_days": config.horizon_days,
        "event_types": config.event_types,
    }
    return trained_of(selection, parameters)


def _query(settings: Settings) -> PredictiveQuery:
    return churn_query(settings.churn, source_registry.event_types(settings))


churn = Training(
    "churn",
    "Probability that an active customer buys nothing in the coming days: LightGBM, or its average "
    "with a logistic regression, calibrated, where its log loss on the newest past window is "
    "significantly lower than that of the base rate, recency and other baselines.",
    train_churn,
    tables=(INTERACTIONS, CAMPAIGN_EVENTS),
    extra_tables=(ITEMS, USERS),
    kinds=frozenset({"python", "lightgbm"}),
    history_days=lambda settings: days_read(_query(settings)),
)
