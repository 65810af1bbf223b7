"""Units that were sold of demand series, to compare forecasts and orders with."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

from batch_predictions.features.sql.demand_sql import parameters as demand_parameters
from batch_predictions.features.sql.queries import sql
from batch_predictions.features.tiles.readiness import outdated_tiles
from batch_predictions.settings import Settings
from batch_predictions.tables import DAILY_SALES, INTERACTIONS
from batch_predictions.warehouse import Warehouse

SALES_TABLES = (INTERACTIONS, DAILY_SALES)
"""Tables that the queries read."""


class SoldUnits(NamedTuple):
    """A query for day, item_id, location and units, and what it binds."""

    sql: str
    parameters: dict[str, Any]


def sold_units(
    warehouse: Warehouse, settings: Settings, after: dt.date, through: dt.date
) -> SoldUnits | None:
    """Builds a query for the units of every series; None where a day was not ingested.

    Units are those of `features.demand`: lines are capped, returns are subtracted. They are read
    from the tile of daily sales where it is made from the rows as they are now.

    Args:
        warehouse: with raw interactions.
        settings: of this home.
        after: day before the first day of sales.
        through: last day of sales.
    """
    days = [after + dt.timedelta(days=n + 1) for n in range((through - after).days)]
    if not all(warehouse.path(INTERACTIONS, str(day)).exists() for day in days):
        return None
    outdated = outdated_tiles(warehouse, settings, {DAILY_SALES.qualified}, [str(through)])
    parameters = {**demand_parameters(warehouse, settings), "date": through, "after": after}
    return SoldUnits(sql("sold_units", tiles=not outdated), parameters)
