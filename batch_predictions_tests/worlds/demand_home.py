"""A home with sixteen weeks of sales with a known weekday pattern and known promotions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from batch_predictions.core.home import write_state
from batch_predictions.predictions.demand import demand_forecasts
from batch_predictions.predictions.replenishment import replenishment_orders
from batch_predictions.settings import DemandSettings, Settings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds import home as worlds_home
from batch_predictions_tests.worlds.home import features_asset, model_asset, prediction_asset
from batch_predictions_tests.worlds.home_state import STATE
from batch_predictions_tests.worlds.sales import (
    write_items,
    write_promotions,
    write_sales,
    write_stock_counts,
)

MONDAY = dt.date(2024, 1, 1)
WEEKS = 16
SUNDAY = MONDAY + dt.timedelta(days=7 * WEEKS - 1)
"""Last day of the sales."""
LAST_WEEK = (SUNDAY - dt.timedelta(days=6)).isoformat()
ITEMS = 8
WEEKDAYS = (1.0, 1.0, 1.0, 1.0, 1.5, 2.0, 1.5)
"""Ratios of the weekdays' units to `DAILY_UNITS`."""
LIFT = 3.0
"""Ratio of the units in promoted weeks to those in other weeks."""
DAILY_UNITS = 10.0


def demand_settings(home: Path, **options: Any) -> Settings:
    """Settings of a home that compares only few candidates; `options` are settings of demand."""
    demand: dict[str, Any] = {
        "candidates": ["linear_promotions"],
        "origins": 3,
        "levels": ["item", "category"],
        **options,
    }
    return Settings(home=home, demand=DemandSettings(**demand))


def build_demand_home(home: Path) -> Settings:
    """Writes the raw tables, trains on the last week and predicts as of the last day."""
    settings = demand_settings(home)
    write_state(settings.home, STATE)
    warehouse = Warehouse.of(settings)
    write_items(
        warehouse,
        *({"item_id": f"i{n}", "category": "ab"[n % 2]} for n in range(ITEMS - 1)),
        {"item_id": "i7", "category": "b", "attributes": {"pack_size": "12", "review_days": "7"}},
        {"item_id": "slow", "attributes": {"lead_time_days": "30"}},
    )
    write_sales(warehouse, _sales())
    write_promotions(
        warehouse,
        [MONDAY + dt.timedelta(days=7 * n) for n in range(WEEKS + 2)],
        *(
            {"item": f"i{item}", "starts": week, "ends": week + dt.timedelta(days=6)}
            for item in range(ITEMS)
            for week in promotion_weeks(item)
        ),
    )
    counts = [{"item": f"i{n}", "on_hand": 5.0 * n} for n in range(1, ITEMS)]
    write_stock_counts(warehouse, SUNDAY, *counts)
    materialize(settings, [model_asset("demand")], LAST_WEEK)
    predict_day(settings, SUNDAY)
    return settings


def promotion_weeks(item: int) -> list[dt.date]:
    """Every fourth week, depending on the item; in the week after the last day, items 0 and 4."""
    return [MONDAY + dt.timedelta(days=7 * n) for n in range(WEEKS + 2) if n % 4 == item % 4]


def _sales() -> list[dict[str, Any]]:
    """Daily sales of the items, of one with few sales, and of one that is five days old."""
    random = np.random.default_rng(5)
    sales: list[dict[str, Any]] = []
    for step in range(7 * WEEKS):
        day = MONDAY + dt.timedelta(days=step)
        week = day - dt.timedelta(days=day.weekday())
        for item in range(ITEMS):
            lift = LIFT if week in promotion_weeks(item) else 1
            units = random.poisson(DAILY_UNITS * WEEKDAYS[day.weekday()] * lift)
            sales.append({"day": day, "item": f"i{item}", "quantity": float(units)})
        sales.append({"day": day, "item": "slow", "quantity": 1.0})
    return sales + [{"day": SUNDAY - dt.timedelta(days=n), "item": "new"} for n in range(5)]


def materialize(settings: Settings, assets: Sequence[dg.AssetsDefinition], key: str) -> None:
    """Materializes one partition of assets."""
    assert worlds_home.materialize(assets, settings, key).success


def predict_day(settings: Settings, day: dt.date) -> None:
    """Features, forecasts and orders of a day."""
    key = day.isoformat()
    materialize(settings, [features_asset("demand")], key)
    materialize(settings, [prediction_asset(demand_forecasts)], key)
    materialize(settings, [prediction_asset(replenishment_orders)], key)
