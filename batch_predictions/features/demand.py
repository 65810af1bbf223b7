"""Series of demand: what their query binds.

`features/demand.sql` makes one row per series and day with the whole history as lists, so that
training and daily forecasts see the same numbers, each as they were known on its day.
"""

from __future__ import annotations

from typing import Any

from batch_predictions.features.queries import parameters as usual
from batch_predictions.settings import Settings
from batch_predictions.tables import PROMOTION_CALENDAR
from batch_predictions.warehouse import Warehouse


def parameters(warehouse: Warehouse, settings: Settings) -> dict[str, Any]:
    """What the query binds besides `$date`; a week that was never read is not known."""
    chosen = settings.demand
    return {
        **usual(settings),
        "levels": list(chosen.levels),
        "max_series": chosen.max_series,
        "horizon": chosen.horizon,
        "history_days": chosen.history_days,
        "event_types": list(chosen.event_types),
        "outlier_factor": chosen.outlier_factor,
        "known_weeks": warehouse.partitions(PROMOTION_CALENDAR),
    }
