"""Realized metrics of replenishment orders: whether they covered what was sold until the next."""

from __future__ import annotations

import datetime as dt

import numpy as np
import numpy.typing as npt

from batch_predictions.evaluation.outcomes import SALES_TABLES, sold_units
from batch_predictions.evaluation.realized_metric import RealizedMetric, realized_row
from batch_predictions.models.common.intervals import Interval, Row, proportion
from batch_predictions.models.demand.demand_metrics import RatioMetric
from batch_predictions.settings import Settings
from batch_predictions.tables import INVENTORY, REPLENISHMENT_ORDERS
from batch_predictions.warehouse import Warehouse

_ORDERS = """
    with orders as (
        select item_id, location, date, on_hand + coalesce(on_order, 0) + order_quantity as stock
        from predictions.replenishment_orders
        where date >= $date::DATE - $horizon::INTEGER and date < $date::DATE
            and date + (lead_time_days + review_days)::INTEGER = $date::DATE
            and on_hand is not null and order_quantity is not null
    )
    select orders.stock, coalesce(fsum(sold.units), 0) as units,
        any_value(counts.on_hand) as counted
    from orders
    left join ({sold}) as sold on sold.item_id = orders.item_id
        and sold.location = orders.location and sold.day > orders.date
    left join (
        select item_id, case when $by_location then location else 'all' end as location,
            fsum(on_hand) as on_hand
        from raw.inventory where date = $date::DATE and on_hand is not null group by all
    ) as counts on counts.item_id = orders.item_id and counts.location = orders.location
    group by orders.item_id, orders.location, orders.stock
    order by orders.item_id, orders.location
"""


def measure_orders(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Measures how far orders whose lead time and review period end on a day covered the demand.

    - `fill_rate`: share of the sold units that stock on hand, on order and ordered then covers.
    - `covered`: share of items of which it covers all; to be compared with `service_level`.
    - `in_stock`: share of these items of which some are in stock on the day.

    Only items whose stock was known count. What was not sold since the stock was empty is in no
    data, so the true fill rate is lower.
    """
    horizon = settings.demand.horizon
    first = day - dt.timedelta(days=horizon)
    ordered_on = warehouse.partitions(REPLENISHMENT_ORDERS)
    if not any(str(first) <= key < str(day) for key in ordered_on):
        return []
    sold = sold_units(warehouse, settings, first, day)
    if sold is None:
        return []
    table = warehouse.query(
        _ORDERS.format(sold=sold.sql),
        {
            **sold.parameters,
            "horizon": horizon,
            "by_location": "item_location" in settings.demand.levels,
        },
    )
    stock, units = (table[name].to_numpy().astype(np.float64) for name in ("stock", "units"))
    counted = table["counted"].drop_null().to_numpy()
    if not len(units):
        return []
    rows = [realized_row("replenishment", "covered", _share(units <= stock))]
    if units.sum() > 0:
        fill = RatioMetric(np.minimum(units, np.maximum(stock, 0)), units)
        rows.append(realized_row("replenishment", "fill_rate", fill.interval(settings.demand.seed)))
    if len(counted):
        rows.append(realized_row("replenishment", "in_stock", _share(counted > 0)))
    return rows


def _share(is_true: npt.NDArray[np.bool_]) -> Interval:
    return proportion(int(is_true.sum()), len(is_true))


replenishment_metrics = RealizedMetric(
    measure_orders, (*SALES_TABLES, INVENTORY, REPLENISHMENT_ORDERS)
)
