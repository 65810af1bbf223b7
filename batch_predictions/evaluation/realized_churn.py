"""Realized metrics of churn scores: predicted against observed churn after one horizon."""

from __future__ import annotations

import datetime as dt

import numpy as np

from batch_predictions.evaluation.outcomes import PURCHASE_DAYS, purchase_parameters
from batch_predictions.evaluation.realized_metric import RealizedMetric, realized_row
from batch_predictions.models.churn.churn_metrics import PairedComparison
from batch_predictions.models.common.intervals import Row, proportion
from batch_predictions.settings import Settings
from batch_predictions.tables import CHURN_SCORES, INTERACTIONS
from batch_predictions.warehouse import Warehouse


def measure_churn(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Evaluates the churn scores of one horizon ago, and the share of customers who churned.

    Empty where there are no scores, or where all or none of the customers churned.
    """
    scored_on = day - dt.timedelta(days=settings.churn.horizon_days)
    rows = warehouse.query(
        f"""select scores.churn_probability, (buyers.user_id is null)::DOUBLE as churned
        from predictions.churn_scores as scores
        left join (select distinct user_id from ({PURCHASE_DAYS})) as buyers
        on buyers.user_id = scores.user_id
        where scores.date = $from order by scores.user_id""",
        purchase_parameters(settings, scored_on, day),
    )
    churned = rows["churned"].to_numpy()
    if not len(churned) or churned.min() == churned.max():
        return []
    comparison = PairedComparison(churned, np.arange(len(churned)), settings.churn.seed)
    metrics = comparison.evaluate("served", rows["churn_probability"].to_numpy())
    share = proportion(int(churned.sum()), len(churned))
    return [
        *(realized_row("churn", name, interval) for name, interval in metrics.items()),
        realized_row("churn", "churned", share),
    ]


churn_metrics = RealizedMetric(measure_churn, (INTERACTIONS, CHURN_SCORES))
