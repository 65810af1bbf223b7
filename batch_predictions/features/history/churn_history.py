"""Churn as a predictive query: whether an active customer buys nothing in the coming days."""

from __future__ import annotations

from dataclasses import replace

from batch_predictions.features.history.event_measures import (
    CAMPAIGN_MEASURES,
    Measure,
    query_measure,
)
from batch_predictions.features.history.history_sql import History
from batch_predictions.settings import ChurnSettings, Settings
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.sources import source_registry
from batch_predictions.sources.validation.event_types import EventTypes
from batch_predictions.warehouse.path_sql import quote_literal

WINDOWS = (7, 28, 56, 84, 182, 364)
"""Days of the windows of purchases and of spend."""


def churn_query(config: ChurnSettings, types: EventTypes) -> PredictiveQuery:
    """The query of the platform's own model `churn`; a return is no purchase.

    Args:
        config: says who is active, and who has churned.
        types: of the source's interactions.
    """
    return PredictiveQuery(
        name="churn",
        predict="count(*) = 0",
        of=", ".join(config.event_types or types.purchases),
        where="coalesce(quantity, 0) >= 0",
        entity="user",
        days=config.horizon_days,
        among=f"churn_days_since < {config.active_days}",
    )


def churn_history(query: PredictiveQuery, types: EventTypes) -> History:
    """The history of customers: their purchases, spend and campaigns.

    Args:
        query: `churn_query`.
        types: of the source's interactions; returns are subtracted from the spend.
    """
    purchases = replace(
        query_measure(query), windows=WINDOWS, words="purchases", events="purchases", year_ago=None
    )
    returns = types.parameters()["return_types"]
    assert isinstance(returns, list)
    counted = ", ".join(map(quote_literal, [*query.event_types, *returns]))
    is_counted = "true" if returns else "coalesce(quantity, 0) >= 0"
    spend = Measure(
        "spend",
        "amount spent",
        f"case when event_type in ({counted}) and {is_counted} then amount end",
        windows=WINDOWS,
    )
    return History(("user_id",), (purchases, spend, *CAMPAIGN_MEASURES), {})


def churn_history_query(settings: Settings) -> str:
    """The query of features.churn_history: the history of the customers who are active."""
    types = source_registry.event_types(settings)
    query = churn_query(settings.churn, types)
    sql = churn_history(query, types).sql()
    return f"select $date::DATE as date, * from ({sql}) where {query.among}"
