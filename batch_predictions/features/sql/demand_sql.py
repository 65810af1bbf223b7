"""Parameters of the query for the demand series.

`features/sql/demand.sql` makes one row per series and day with the whole history as lists. Training
and daily forecasts use the same query, so that both see what was known at the end of a day.
"""

from __future__ import annotations

from batch_predictions.features.sql.queries import parameters as common_parameters
from batch_predictions.settings import Settings
from batch_predictions.tables import PROMOTION_CALENDAR
from batch_predictions.warehouse import Warehouse


def parameters(warehouse: Warehouse, settings: Settings) -> dict[str, object]:
    """Parameters that the query binds, except `$date`.

    `known_weeks` are the weeks of the promotion calendar that were ingested; promotions of other
    weeks are null.
    """
    demand = settings.demand
    return {
        **common_parameters(settings),
        "levels": list(demand.levels),
        "max_series": demand.max_series,
        "horizon": demand.horizon,
        "history_days": demand.history_days,
        "event_types": list(demand.event_types),
        "outlier_factor": demand.outlier_factor,
        "known_weeks": warehouse.partitions(PROMOTION_CALENDAR),
    }
