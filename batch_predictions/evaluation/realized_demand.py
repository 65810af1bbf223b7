"""Realized metrics of demand: forecasts and orders against the units that were sold."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles
from batch_predictions.evaluation.outcomes import SALES_TABLES, sold_units
from batch_predictions.evaluation.realized_metric import RealizedMetric, realized_row
from batch_predictions.models.common.intervals import Interval, Row, proportion
from batch_predictions.models.demand.demand_metrics import BIAS, WAPE, RatioMetric
from batch_predictions.settings import Settings
from batch_predictions.tables import DEMAND_FORECASTS, INVENTORY, REPLENISHMENT_ORDERS
from batch_predictions.warehouse import Warehouse

DAYS_AHEAD = (1, 7)
"""How many days before the day the forecasts were made."""
INTERVALS = {"50": ("q25", "q75"), "80": ("q10", "q90"), "90": ("q05", "q95")}
_LEVELS = ("item", "item_location", "category")
_FORECASTS = """
    select
        case when starts_with(forecasts.item_id, 'category:') then 'category'
            when forecasts.location <> 'all' then 'item_location' else 'item' end as level,
        coalesce(sold.units, 0) as units,
        forecasts.mean, forecasts.q05, forecasts.q10, forecasts.q25,
        forecasts.q75, forecasts.q90, forecasts.q95
    from predictions.demand_forecasts as forecasts
    left join ({sold}) as sold
        on sold.item_id = forecasts.item_id and sold.location = forecasts.location
    where forecasts.date = $made_on::DATE and forecasts.target_date = $date::DATE
    order by forecasts.item_id, forecasts.location
"""


def measure_forecasts(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Measures WAPE, bias and coverage of the forecasts for a day, by level and days ahead.

    Intervals are bootstrapped over series: they say how the metric varies between series, not
    between days, which have errors in common. Empty on days without sales, such as holidays.
    """
    rows: list[Row] = []
    sold = sold_units(warehouse, settings, day - dt.timedelta(days=1), day)
    if sold is None:
        return rows
    for ahead in DAYS_AHEAD:
        made_on = day - dt.timedelta(days=ahead)
        if not warehouse.path(DEMAND_FORECASTS, str(made_on)).exists():
            continue
        table = warehouse.query(
            _FORECASTS.format(sold=sold.sql), {**sold.parameters, "made_on": made_on}
        )
        levels = np.asarray(table["level"].to_pylist())
        values = {
            name: table[name].to_numpy().astype(np.float64)
            for name in table.column_names
            if name != "level"
        }
        for level in _LEVELS:
            of_level = {name: column[levels == level] for name, column in values.items()}
            if of_level["units"].sum() > 0:
                rows += _level_rows(of_level, f"{level}:{ahead}d", settings.demand.seed)
    return rows


def _level_rows(values: Mapping[str, Doubles], suffix: str, seed: int) -> list[Row]:
    units, ones = values["units"], np.ones(len(values["units"]))
    ratios = {
        WAPE: RatioMetric(np.abs(values["mean"] - units), units),
        BIAS: RatioMetric(values["mean"] - units, units),
    }
    for name, (lower, upper) in INTERVALS.items():
        is_covered = (units >= values[lower]) & (units <= values[upper])
        ratios[f"coverage_{name}"] = RatioMetric(is_covered.astype(np.float64), ones)
    return [
        realized_row("demand", f"{name}:{suffix}", ratio.interval(seed))
        for name, ratio in ratios.items()
    ]


demand_metrics = RealizedMetric(measure_forecasts, (*SALES_TABLES, DEMAND_FORECASTS))


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
