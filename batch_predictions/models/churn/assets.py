"""The weekly training of churn as a Dagster asset."""

import datetime as dt
from collections.abc import Callable

import numpy as np

from batch_predictions.features.queries import parameters as feature_parameters
from batch_predictions.features.queries import sql
from batch_predictions.models.churn.metrics import AUC
from batch_predictions.models.churn.windows import Examples
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import Settings
from batch_predictions.tables import CAMPAIGN_EVENTS, ITEMS, USERS
from batch_predictions.warehouse import Warehouse

_PURCHASES = """raw.interactions where (len($churn_event_types::VARCHAR[]) = 0
    or list_contains($churn_event_types::VARCHAR[], event_type))"""
LABELLED = f"""
    select features.*, later.user_id is null as churned
    from ({{features}}) as features
    left join (
        select distinct user_id from {_PURCHASES}
        and date > $date::DATE and date <= $date::DATE + $horizon_days::INTEGER
    ) as later on later.user_id = features.user_id
    qualify row_number() over (order by md5(features.user_id), features.user_id)
        <= $max_customers::BIGINT
    order by features.user_id
"""
"""Customers as of a past day, by the same query as a day's features, with what they did next."""


def examples_as_of(warehouse: Warehouse, settings: Settings, day: dt.date) -> Examples:
    """Customers as they were at the end of a past day, and whether they churned."""
    rows = warehouse.query(
        LABELLED.format(features=sql("churn_features")),
        {
            **feature_parameters(settings),
            "date": day,
            "horizon_days": settings.churn.horizon_days,
            "max_customers": settings.churn.max_customers,
        },
    )
    churned = rows["churned"].to_numpy().astype(np.float64)
    return Examples(rows.drop_columns("churned").combine_chunks(), churned)


def train_churn(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """LightGBM, logistic regression and their average against recency and rhythm."""
    from batch_predictions.models.churn import plots
    from batch_predictions.models.churn.selection import ChurnTrainingConfig, select_churn

    chosen = settings.churn
    first = warehouse.value(
        f"select min(date) from {_PURCHASES} and date <= $date",
        {**feature_parameters(settings), "date": through},
    )
    selection = select_churn(
        lambda day: examples_as_of(warehouse, settings, day),
        first,
        through,
        ChurnTrainingConfig(
            horizon=chosen.horizon_days,
            step=chosen.step_days,
            cutoffs=chosen.cutoffs,
            calibration=chosen.calibration,
            min_churned=chosen.min_churned,
            seed=chosen.seed,
        ),
        progress,
    )
    outcomes = selection.outcomes
    return Trained(
        write=selection.model.save,
        candidate=selection.chosen,
        beats_baseline=selection.beats_baseline,
        parameters={
            "active_days": chosen.active_days,
            "horizon_days": chosen.horizon_days,
            "event_types": chosen.event_types,
            "calibration": chosen.calibration,
        },
        why=selection.why,
        metrics=[dict(row) for row in selection.metrics],
        plotted=AUC,
        figures={
            "calibration": lambda: (
                plots.calibration(*outcomes, f"{selection.chosen} on the window held out")
                if outcomes
                else None
            )
        },
    )


churn = Training(
    "churn",
    "Who of the active customers buys nothing in the coming days: LightGBM, logistic regression "
    "or their average, calibrated, where it is surely better than recency and rhythm alone on the "
    "newest window.",
    train_churn,
    extra_tables=(ITEMS, USERS, CAMPAIGN_EVENTS),
    kinds=frozenset({"python", "lightgbm", "scikitlearn"}),
)
