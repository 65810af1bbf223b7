"""Stock that a policy needs to fill 95 % of the demand, simulated on the Complete Journey.

    python benchmarks/replenishment.py [--top 500] [--lead 3] [--review 4] [--json]

All policies order the same products on the same days with the same lead time; demand that exceeds
the stock is lost. The reference policy orders up to a number of days of the mean of the last 28
days. The others order up to a quantile of the demand over lead time and review period, which
follows the forecast. Each is simulated for many numbers of days or service levels, and the mean
stock at a fill rate of 95 % is interpolated. Models are fitted, and their quantiles calibrated,
before the first simulated day; they forecast on the day of each order. Nothing was tuned on the
simulated days.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from complete_journey_data import sales_panel
from stock_simulation import StockSimulation, simulate

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.intervals import multinomial_counts, percentile_interval
from batch_predictions.models.demand.backtest import backtest_origins, run_backtest
from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.conformal import ConformalCalibration
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.forecasters.baselines import Mean28
from batch_predictions.models.demand.forecasters.gbdt import GBDTForecaster, GBDTForecasterParams
from batch_predictions.models.demand.stock_policy import order_quantity, stock_levels
from batch_predictions.sources.adapters.complete_journey_year import FIRST_DAY

FIRST_SIMULATED_DAY = dt.date(2017, 10, 8)
DAYS = 84
"""Days that are simulated."""
HORIZON = 14
FILL_RATE = 0.95
SERVICE_LEVELS = np.r_[
    0.02, np.arange(0.05, 0.95, 0.05), 0.95, 0.965, 0.975, 0.98, 0.985, 0.99, 0.995
]
COVER_DAYS = np.arange(1.0, 60.0, 1.0)
REFERENCE = "days of cover"
SEED = 7

Simulations: TypeAlias = Sequence[StockSimulation]
"""Simulations of one policy, in ascending order of its service level."""


@dataclass(frozen=True)
class DemandQuantiles:
    """Demand that is forecast on one day of an order.

    Attributes:
        lead: quantiles over the lead time at the service levels, (n, levels).
        cycle: quantiles over lead time and review period, (n, levels).
        cycle_mean: mean over lead time and review period, (n,).
    """

    lead: Doubles
    cycle: Doubles
    cycle_mean: Doubles


def forecast_demand(
    panel: Panel, make: Callable[[], Forecaster], begin: int, lead_days: int, review_days: int
) -> list[DemandQuantiles]:
    """Forecasts of every day of an order, by a model that was fitted before the column `begin`."""
    origins = backtest_origins(begin, HORIZON, 6, 14)
    past = run_backtest(panel.truncate(begin), {"model": make}, origins, HORIZON)
    calibration = ConformalCalibration.fit(past.forecasts["model"], past.actual)
    model = make().fit(panel.truncate(begin))
    levels = SERVICE_LEVELS.tolist()
    cycle_days = lead_days + review_days
    forecasts = []
    for day in range(0, DAYS, review_days):
        mean = model.forecast(panel.truncate(begin + day), HORIZON)
        forecasts.append(
            DemandQuantiles(
                lead=calibration.sum_quantiles(mean, lead_days, levels),
                cycle=calibration.sum_quantiles(mean, cycle_days, levels),
                cycle_mean=mean[:, :cycle_days].sum(axis=1),
            )
        )
    return forecasts


def simulate_quantile_policy(
    demand: Doubles, forecasts: Sequence[DemandQuantiles], lead_days: int, review_days: int
) -> list[StockSimulation]:
    """A simulation for every service level."""
    simulations = []
    for level in range(len(SERVICE_LEVELS)):

        def policy(day: int, position: Doubles, level: int = level) -> Doubles:
            forecast = forecasts[day // review_days]
            levels = stock_levels(
                forecast.lead[:, level], forecast.cycle[:, level], forecast.cycle_mean
            )
            return order_quantity(position, levels, pack_size=1.0, min_order=0.0)

        initial_stock = forecasts[0].cycle[:, level]
        simulations.append(simulate(demand, policy, lead_days, review_days, initial_stock))
    return simulations


def simulate_cover_policy(
    panel: Panel, begin: int, lead_days: int, review_days: int
) -> list[StockSimulation]:
    """A simulation for every number of days of cover."""
    means = [
        np.nanmean(panel.y[:, begin + day - 28 : begin + day], axis=1)
        for day in range(0, DAYS, review_days)
    ]
    demand = panel.y[:, begin : begin + DAYS]
    simulations = []
    for cover_days in COVER_DAYS:

        def policy(day: int, position: Doubles, cover_days: float = cover_days) -> Doubles:
            gap = cover_days * means[day // review_days] - position
            return np.asarray(np.ceil(np.maximum(gap, 0)))

        initial_stock = np.ceil(cover_days * means[0])
        simulations.append(simulate(demand, policy, lead_days, review_days, initial_stock))
    return simulations


def stock_at_fill_rate(simulations: Simulations, weights: Doubles) -> Doubles:
    """Mean stock at which the fill rate is `FILL_RATE`; nan where no simulation reaches it.

    Args:
        simulations: of one policy.
        weights: weights of the series, (samples, n).

    Returns:
        (samples,).
    """
    demanded = weights @ simulations[0].demand.sum(axis=1)
    sold = np.stack([weights @ simulation.sold.sum(axis=1) for simulation in simulations], axis=1)
    stock = np.stack(
        [weights @ simulation.stock.mean(axis=1) for simulation in simulations], axis=1
    )
    fill_rates = np.maximum.accumulate(sold / demanded[:, None], axis=1)
    return np.array(
        [
            np.interp(FILL_RATE, sample_fill_rates, sample_stock, left=np.nan, right=np.nan)
            for sample_fill_rates, sample_stock in zip(fill_rates, stock, strict=True)
        ]
    )


def measure(
    top: int = 500,
    lead: int = 3,
    review: int = 4,
    only: str = "",
    progress: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> dict[str, Any]:
    """Stock of every policy at a fill rate of 95 %, and its change from days of cover."""
    panel = sales_panel(top, FIRST_SIMULATED_DAY - dt.timedelta(days=1))
    begin = (FIRST_SIMULATED_DAY - FIRST_DAY).days
    # Days before a product's first sale are unknown for the models, but days without demand in the
    # simulation.
    is_simulated = np.arange(panel.n_columns) >= begin
    panel = replace(panel, y=np.where(is_simulated, np.nan_to_num(panel.y), panel.y))
    without_promotions = replace(panel, future_covariates={})
    demand = panel.y[:, begin : begin + DAYS]
    simulations = {REFERENCE: simulate_cover_policy(panel, begin, lead, review)}
    methods: dict[str, tuple[Panel, Callable[[], Forecaster]]] = {
        "mean28_weekday": (without_promotions, Mean28),
        "lightgbm without promotions": (without_promotions, make_lightgbm),
        "lightgbm": (panel, make_lightgbm),
    }
    for name, (method_panel, make) in methods.items():
        if only and name != only:
            continue
        progress(f"{name}: fits, calibrates and simulates {DAYS} days")
        forecasts = forecast_demand(method_panel, make, begin, lead, review)
        simulations[name] = simulate_quantile_policy(demand, forecasts, lead, review)
    # Without the first days, on which the first orders have not arrived yet.
    settled = {
        name: [simulation.from_day(lead + review) for simulation in by_level]
        for name, by_level in simulations.items()
    }
    policies = compare_policies(settled, top)
    return {"top": top, "lead": lead, "review": review, "fill": FILL_RATE, "policies": policies}


def make_lightgbm() -> GBDTForecaster:
    """An unfitted LightGBM forecaster."""
    return GBDTForecaster(GBDTForecasterParams(horizon=HORIZON, seed=SEED))


def compare_policies(
    simulations: Mapping[str, Simulations], top: int
) -> dict[str, dict[str, float]]:
    """Stock, days of demand in stock, and the relative change from days of cover by policy.

    Intervals are 95 % bootstrap intervals over products.
    """
    samples, all_products = multinomial_counts(top, SEED), np.ones((1, top))
    reference = stock_at_fill_rate(simulations[REFERENCE], all_products)[0]
    reference_samples = stock_at_fill_rate(simulations[REFERENCE], samples)
    policies = {}
    for name, by_level in simulations.items():
        stock = stock_at_fill_rate(by_level, all_products)[0]
        changes = stock_at_fill_rate(by_level, samples) / reference_samples - 1
        change = percentile_interval(float(stock / reference - 1), changes, top)
        policies[name] = {
            "stock": float(stock),
            "days": float(stock / by_level[0].demand.sum(axis=0).mean()),
            "change": change.mean,
            "lower": change.lower,
            "upper": change.upper,
        }
    return policies


def main() -> None:
    """Prints the table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--top", type=int, default=500, help="products, the best sellers before")
    parser.add_argument("--lead", type=int, default=3, help="days from order to receipt")
    parser.add_argument("--review", type=int, default=4, help="days between orders")
    parser.add_argument("--only", default="", help="one method, compared with days of cover")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    report = measure(args.top, args.lead, args.review, args.only)
    if args.json:
        print(json.dumps(report))
        return
    for name, row in report["policies"].items():
        print(
            f"{name:30} {row['stock']:8.0f} units, {row['days']:5.2f} days of demand, "
            f"{row['change']:+.1%} ({row['lower']:+.1%} to {row['upper']:+.1%})"
        )


if __name__ == "__main__":
    main()
