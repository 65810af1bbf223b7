"""Realized metrics of demand forecasts: forecast units of a day against those that were sold."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.evaluation.outcomes import SALES_TABLES, sold_units
from batch_predictions.evaluation.realized_metric import RealizedMetric, realized_row
from batch_predictions.models.common.intervals import Row
from batch_predictions.models.demand.demand_metrics import BIAS, WAPE, RatioMetric
from batch_predictions.settings import Settings
from batch_predictions.tables import DEMAND_FORECASTS
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
