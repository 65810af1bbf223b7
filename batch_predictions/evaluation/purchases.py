"""Purchases after a day, for metrics of churn and retention."""

from __future__ import annotations

import datetime as dt
from typing import Any

from batch_predictions.features.sql.queries import parameters as feature_parameters
from batch_predictions.models.churn.data.churn_inputs import PURCHASES
from batch_predictions.settings import Settings

PURCHASE_DAYS = f"""select distinct user_id, date from {PURCHASES}
    and date > $from::DATE and date <= $date::DATE"""
"""SQL: customers and days with a purchase in ($from, $date]; bind `purchase_parameters`."""


def purchase_parameters(settings: Settings, after: dt.date, through: dt.date) -> dict[str, Any]:
    """Returns the parameters of queries with PURCHASE_DAYS.

    Args:
        settings: of this home.
        after: day before the first day of purchases.
        through: last day of purchases.
    """
    return {**feature_parameters(settings), "from": after, "date": through}
