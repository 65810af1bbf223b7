"""Stock that a policy needs to fill 95 % of demand, on the Complete Journey replayed day by day.

    python benchmarks/replenishment.py [--top 500] [--lead 3] [--review 4] [--json]

Every policy orders up to a level of its own every few days, for the same products, days and terms;
what is not on the shelf is lost. The usual policy covers a number of days of the mean of the last
28; the others order up to a quantile of the demand over lead time and review period, which moves
with the forecast. Each is replayed for many levels of cover or service, and the mean stock of an
evening is read off where 95 % of all units wanted were sold. Forecasts are made as of the day of
the order by models that were fitted before the replay; their quantiles come from the errors of
origins before it. Nothing is chosen on the replayed days.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from complete_journey_data import panel as journey

from batch_predictions.models.demand.backtest import backtest, origins_of
from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.conformal import ConformalCalibration
from batch_predictions.models.demand.forecasters.baselines import Mean28
from batch_predictions.models.demand.forecasters.gbdt import GBDTForecaster
from batch_predictions.models.demand.panel import Doubles, Panel
from batch_predictions.models.demand.replenishment.policy import order_quantity, stock_levels
from batch_predictions.models.demand.replenishment.simulator import StockSimulation, simulate

BEGIN = dt.date(2017, 10, 8)
"""First day that is replayed; everything is fitted and calibrated before it."""
DAYS = 84
HORIZON = 14
FILL = 0.95
LEVELS = np.r_[0.02, np.arange(0.05, 0.95, 0.05), 0.95, 0.965, 0.975, 0.98, 0.985, 0.99, 0.995]
COVER = np.arange(1.0, 60.0, 1.0)
SAMPLES = 1000


def targets_of(
    panel: Panel, make: Callable[[], Forecaster], begin: int, lead: int, review: int
) -> list[tuple[Doubles, Doubles, Doubles]]:
    """Quantiles over lead time and cycle, (n, levels), and the cycle's mean, of every review."""
    origins = origins_of(begin, HORIZON, 6, 14)
    past = backtest(panel.until(begin), {"model": make}, origins, HORIZON)
    calibration = ConformalCalibration.of(past.forecasts["model"], past.actual)
    fitted = make().fit(panel.until(begin))
    found = []
    for day in range(0, DAYS, review):
        mean = fitted.forecast(panel.until(begin + day), HORIZON)
        found.append(
            (
                calibration.sum_quantiles(mean, lead, LEVELS.tolist()),
                calibration.sum_quantiles(mean, lead + review, LEVELS.tolist()),
                mean[:, : lead + review].sum(axis=1),
            )
        )
    return found


def by_quantile(
    demand: Doubles, targets: list[tuple[Doubles, Doubles, Doubles]], lead: int, review: int
) -> list[StockSimulation]:
    """A replay for every service level."""
    replays = []
    for place in range(len(LEVELS)):

        def order(day: int, position: Doubles, place: int = place) -> Doubles:
            over_lead, over_cycle, mean = targets[day // review]
            stock = stock_levels(over_lead[:, place], over_cycle[:, place], mean)
            return order_quantity(position, stock, 1.0, 0.0)

        replays.append(simulate(demand, order, lead, review, targets[0][1][:, place]))
    return replays


def by_cover(panel: Panel, begin: int, lead: int, review: int) -> list[StockSimulation]:
    """A replay for every number of days of cover."""
    means = [
        np.nanmean(panel.y[:, begin + day - 28 : begin + day], axis=1)
        for day in range(0, DAYS, review)
    ]
    demand = panel.y[:, begin : begin + DAYS]
    replays = []
    for days in COVER:

        def order(day: int, position: Doubles, days: float = days) -> Doubles:
            return np.asarray(np.ceil(np.maximum(days * means[day // review] - position, 0)))

        replays.append(simulate(demand, order, lead, review, np.ceil(days * means[0])))
    return replays


def stock_at(replays: list[StockSimulation], weights: Doubles) -> Doubles:
    """Mean stock where the fill rate is FILL, for each row of weights of the series, (samples,)."""
    wanted = weights @ replays[0].demand.sum(axis=1)
    sold = np.stack([weights @ each.sold.sum(axis=1) for each in replays], axis=1)
    stock = np.stack([weights @ each.stock.mean(axis=1) for each in replays], axis=1)
    fill = sold / wanted[:, None]
    return np.array(
        [
            np.interp(FILL, np.maximum.accumulate(f), s, left=np.nan, right=np.nan)
            for f, s in zip(fill, stock, strict=True)
        ]
    )


def measure(
    top: int = 500,
    lead: int = 3,
    review: int = 4,
    only: str = "",
    progress: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> dict[str, Any]:
    """Stock at 95 % fill of every policy, and how much less than by days of cover."""
    panel = journey(top, BEGIN - dt.timedelta(days=1))
    begin = (BEGIN - dt.date(2017, 1, 1)).days
    # What is observed; before its first sale a product was not wanted.
    panel = replace(
        panel, y=np.where(np.arange(panel.columns) >= begin, np.nan_to_num(panel.y), panel.y)
    )
    plain = replace(panel, future_covariates={})
    demand = panel.y[:, begin : begin + DAYS]
    policies: dict[str, list[StockSimulation]] = {
        "days of cover": by_cover(panel, begin, lead, review)
    }
    methods: dict[str, tuple[Panel, Callable[[], Forecaster]]] = {
        "mean28_weekday": (plain, Mean28),
        "lightgbm without promotions": (plain, lambda: GBDTForecaster(horizon=HORIZON)),
        "lightgbm": (panel, lambda: GBDTForecaster(horizon=HORIZON)),
    }
    for name, (series, make) in methods.items():
        if only and name != only:
            continue
        progress(f"{name}: fitting, calibrating, replaying {DAYS} days")
        targets = targets_of(series, make, begin, lead, review)
        policies[name] = by_quantile(demand, targets, lead, review)
    # Stock settles while what was ordered first arrives.
    settled = {
        name: [each.from_day(lead + review) for each in replays]
        for name, replays in policies.items()
    }
    random = np.random.default_rng(7)
    weights = random.multinomial(top, np.full(top, 1 / top), SAMPLES).astype(float)
    everyone = np.ones((1, top))
    usual = stock_at(settled["days of cover"], everyone)[0]
    usual_samples = stock_at(settled["days of cover"], weights)
    rows = {}
    for name, replays in settled.items():
        stock = stock_at(replays, everyone)[0]
        samples = stock_at(replays, weights) / usual_samples - 1
        lower, upper = np.nanquantile(samples, [0.025, 0.975])
        rows[name] = {
            "stock": float(stock),
            "days": float(stock / settled[name][0].demand.sum(axis=0).mean()),
            "change": float(stock / usual - 1),
            "lower": float(lower),
            "upper": float(upper),
        }
    return {"top": top, "lead": lead, "review": review, "fill": FILL, "policies": rows}


def main() -> None:
    """Prints the table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--top", type=int, default=500, help="products, by units before the replay")
    parser.add_argument("--lead", type=int, default=3, help="days from order to receipt")
    parser.add_argument("--review", type=int, default=4, help="days between orders")
    parser.add_argument("--only", default="", help="one method beside days of cover")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measure(args.top, args.lead, args.review, args.only)
    if args.json:
        print(json.dumps(found))
        return
    for name, row in found["policies"].items():
        print(
            f"{name:30} {row['stock']:8.0f} units, {row['days']:5.2f} days of demand, "
            f"{row['change']:+.1%} ({row['lower']:+.1%} to {row['upper']:+.1%})"
        )


if __name__ == "__main__":
    main()
