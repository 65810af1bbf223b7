"""The weekly training of churn as a Dagster asset."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from batch_predictions.models.churn.churn_metrics import LOG_LOSS
from batch_predictions.models.churn.data.churn_examples import examples_as_of, first_purchase_day
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import Settings
from batch_predictions.tables import CAMPAIGN_EVENTS, ITEMS, USERS
from batch_predictions.warehouse import Warehouse


def train_churn(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Compares candidates and baselines on past customers and fits the one that serves.

    Args:
        warehouse: features and purchases up to `through`.
        settings: of this home; those under `churn` configure the training.
        through: last day whose purchases are known to the training.
        progress: receives lines for the log.
    """
    from batch_predictions.models.churn import churn_metrics
    from batch_predictions.models.churn.churn_selection import select_churn

    config = settings.churn
    selection = select_churn(
        lambda day: examples_as_of(warehouse, settings, day),
        first_purchase_day(warehouse, settings, through),
        through,
        config,
        progress,
    )
    outcomes = selection.outcomes
    return Trained(
        write=selection.model.save,
        candidate=selection.candidate,
        beats_baseline=selection.beats_baseline,
        parameters={
            "active_days": config.active_days,
            "horizon_days": config.horizon_days,
            "event_types": config.event_types,
            "calibration": config.calibration,
        },
        why=selection.why,
        metrics=[dict(row) for row in selection.metrics],
        plotted=LOG_LOSS,
        lower_is_better=True,
        figures={
            "calibration": lambda: (
                churn_metrics.plot_calibration(
                    *outcomes, f"{selection.candidate} on the test customers"
                )
                if outcomes
                else None
            )
        },
    )


churn = Training(
    "churn",
    "Probability that an active customer buys nothing in the coming days: LightGBM, logistic "
    "regression or their average, calibrated, where its log loss on the newest past day is "
    "significantly better than that of the base rate, recency and rhythm.",
    train_churn,
    extra_tables=(ITEMS, USERS, CAMPAIGN_EVENTS),
    kinds=frozenset({"python", "lightgbm", "scikitlearn"}),
)
