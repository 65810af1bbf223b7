"""Reads what happened after a day, which predictions are compared with.

Purchases for metrics of churn and retention; units sold for forecasts and orders; sums of shown
items and reactions over users, for shares whose units are not independent.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, NamedTuple

from batch_predictions.features.sql.queries import demand_parameters, is_purchase, sql
from batch_predictions.features.sql.queries import parameters as feature_parameters
from batch_predictions.features.tiles.building import outdated_tiles
from batch_predictions.models.common.intervals import ClusterSums
from batch_predictions.settings import Settings
from batch_predictions.tables import DAILY_SALES, INTERACTIONS
from batch_predictions.warehouse import Warehouse

PURCHASE_DAYS = f"""select distinct user_id, date from raw.interactions
    where {is_purchase("churn_event_types")} and date > $from::DATE and date <= $date::DATE"""
"""SQL: customers and days with a purchase in ($from, $date]; bind `purchase_parameters`."""


def purchase_parameters(settings: Settings, after: dt.date, through: dt.date) -> dict[str, object]:
    """Returns the parameters of queries with PURCHASE_DAYS.

    Args:
        settings: of this home.
        after: day before the first day of purchases.
        through: last day of purchases.
    """
    return {**feature_parameters(settings), "from": after, "date": through}


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


REACTIONS = ("clicks", "purchases")
REACTION_SUMS = ", ".join(
    [
        "count(*)::BIGINT as clusters, sum(n)::BIGINT as n, sum(n * n)::DOUBLE as n_squared",
        *(
            f"sum({name})::BIGINT as {name}, sum({name} * {name})::DOUBLE as {name}_squared, "
            f"sum({name} * n)::DOUBLE as {name}_by_n"
            for name in REACTIONS
        ),
    ]
)
"""SQL of the sums over rows with `n`, `clicks` and `purchases` of one user each."""


def cluster_sums(row: Mapping[str, Any], reaction: str) -> ClusterSums:
    """The sums of one of `REACTIONS` in a row with `REACTION_SUMS`; users are the clusters."""
    return ClusterSums(
        row["clusters"],
        row["n"],
        row[reaction],
        row["n_squared"],
        row[f"{reaction}_squared"],
        row[f"{reaction}_by_n"],
    )
