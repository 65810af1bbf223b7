"""Reads the training data of churn from the warehouse."""

from __future__ import annotations

import datetime as dt

import numpy as np

from batch_predictions.features.sql.conditions import is_purchase
from batch_predictions.features.sql.queries import interactions_of_some, sql
from batch_predictions.features.sql.queries import parameters as feature_parameters
from batch_predictions.models.churn.data.churn_examples import Examples
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse

PURCHASES = f"raw.interactions where {is_purchase('churn_event_types')}"
"""SQL after `from`: interactions that are purchases. `and …` may follow."""
_SAMPLE = interactions_of_some(
    f"""
        select user_id from {PURCHASES}
        and date <= $date::DATE
        and date > $date::DATE - least($churn_active_days, $churn_history_days)::INTEGER
    """,
    "max_customers",
)
"""Interactions of the customers that are described, so that no others are computed."""
_EXAMPLES = f"""
    select features.*, buyers.user_id is null as churned
    from ({{features}}) as features
    left join (
        select distinct user_id from {PURCHASES}
        and date > $date::DATE and date <= $date::DATE + $horizon_days::INTEGER
    ) as buyers on buyers.user_id = features.user_id
    order by features.user_id
"""
"""Customers as of a past day, by the query that also computes a day's features, with outcomes."""


def first_purchase_day(
    warehouse: Warehouse, settings: Settings, through: dt.date
) -> dt.date | None:
    """Reads the day of the oldest purchase up to a day; None without purchases."""
    day: dt.date | None = warehouse.value(
        f"select min(date) from {PURCHASES} and date <= $date",
        {**feature_parameters(settings), "date": through},
    )
    return day


def examples_as_of(warehouse: Warehouse, settings: Settings, day: dt.date) -> Examples:
    """Reads the customers as they were at the end of a past day, and whether they churned.

    Of more than `churn.max_customers` customers, a hash of their ids selects the same ones on every
    day.

    Args:
        warehouse: features and purchases.
        settings: of this home; those under `churn` say who has churned.
        day: the cut-off; purchases of `churn.horizon_days` days after it are the outcomes.
    """
    rows = warehouse.query(
        _EXAMPLES.format(features=sql("churn_features", interactions=_SAMPLE)),
        {
            **feature_parameters(settings),
            "date": day,
            "horizon_days": settings.churn.horizon_days,
            "max_customers": settings.churn.max_customers,
        },
    )
    churned = rows["churned"].to_numpy().astype(np.float64)
    return Examples(rows.drop_columns("churned").combine_chunks(), churned)
