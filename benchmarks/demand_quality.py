"""How good every demand forecaster is on the Complete Journey, from 8 October 2017 on.

    python benchmarks/demand_quality.py
    python benchmarks/demand_quality.py --by category --top 100 --candidates linear_regression,gru
    python benchmarks/demand_quality.py --development

Six origins 14 days apart, the first at the end of 8 October, horizon 14; the best sellers up to
that day. `--development` ends before it: settings were chosen there. Quantiles of an origin are
calibrated on the six origins before 8 October and on those that have passed since. Prints one JSON
object; progress goes to the standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import complete_journey_data
import numpy as np

from batch_predictions.models.demand import metrics
from batch_predictions.models.demand.backtest import Backtest, backtest
from batch_predictions.models.demand.conformal import LEVELS, ConformalCalibration
from batch_predictions.models.demand.panel import Doubles, Panel
from batch_predictions.models.demand.registry import MEMBERS, make
from batch_predictions.models.demand.selection import CANDIDATES, choose
from batch_predictions.sources.adapters.complete_journey_year import FIRST_DAY

FIRST, EVERY, NUMBER, HORIZON, SEED = dt.date(2017, 10, 8), 14, 6, 14, 7
QUIET = 3
"""Origins whose horizon ends before Thanksgiving."""
STRAWMAN, NAIVE, MEAN28 = "linear_regression", "seasonal_naive", "mean28_weekday"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--top", type=int, default=500, help="series")
    parser.add_argument("--by", choices=["product", "category"], default="product")
    parser.add_argument("--candidates", default=",".join(CANDIDATES))
    parser.add_argument("--fits", type=int, default=1, help="fits over the six origins")
    parser.add_argument("--development", action="store_true", help="the six origins before")
    args = parser.parse_args()
    ranked = FIRST - dt.timedelta(days=EVERY * NUMBER) if args.development else FIRST
    panel = complete_journey_data.panel(args.top, ranked, args.by)
    print(json.dumps(measure(panel, args.candidates.split(","), args.fits, ranked), indent=1))


def measure(panel: Panel, candidates: Sequence[str], fits: int, first: dt.date) -> dict[str, Any]:
    """The table, differences to the simple ones, and coverage."""
    known = (first - FIRST_DAY).days + 1
    origins = [known + EVERY * step for step in range(NUMBER)]
    before = [known - EVERY * step for step in range(NUMBER, 0, -1)]
    now, seconds = tested(panel, candidates, origins, fits)
    past, _ = tested(panel, candidates, before, 1)
    # The champion of an origin is of all origins before it, those before the first included.
    forecasts = {
        name: np.concatenate([past.forecasts[name], now.forecasts[name]]) for name in candidates
    }
    chosen, _ = choose(forecasts, np.concatenate([past.actual, now.actual]))
    actual, table = now.actual, {}
    now = Backtest(
        now.origins, actual, {**now.forecasts, "chosen": chosen[NUMBER:]}, now.scale, now.spread
    )
    past = Backtest(
        past.origins,
        past.actual,
        {**past.forecasts, "chosen": chosen[:NUMBER]},
        past.scale,
        past.spread,
    )
    for name, forecast in now.forecasts.items():
        found = {
            metrics.WAPE: metrics.wape(forecast, actual),
            metrics.WAPE_SUM: metrics.wape_sum(forecast, actual),
            metrics.BIAS: metrics.bias(forecast, actual),
            metrics.RMSSE: metrics.rmsse(forecast, actual, now.scale),
            metrics.MASE: metrics.mase(forecast, actual, now.spread),
            **covered(past, now, name),
        }
        row: dict[str, Any] = {key: round(each.value, 4) for key, each in found.items()}
        table[name] = row
        row["wape_by_origin"] = [
            round(metrics.wape(forecast[k : k + 1], actual[k : k + 1]).value, 3)
            for k in range(NUMBER)
        ]
        row["bias_by_origin"] = [
            round(metrics.bias(forecast[k : k + 1], actual[k : k + 1]).value, 3)
            for k in range(NUMBER)
        ]
        row["cpu_seconds"] = round(seconds.get(name, 0.0), 1)
        for other in (STRAWMAN, MEAN28, NAIVE):
            if other in now.forecasts and name != other:
                gain = metrics.relative(
                    found[metrics.WAPE], metrics.wape(now.forecasts[other], actual), SEED
                )
                row[f"wape_to_{other}"] = [
                    round(each, 4) for each in (gain.mean, gain.lower, gain.upper)
                ]
    return {
        "series": len(panel),
        "first_origin": str(first),
        "origins": NUMBER,
        "fits": fits,
        "candidates": table,
    }


def tested(
    panel: Panel, candidates: Sequence[str], origins: Sequence[int], fits: int
) -> tuple[Backtest, dict[str, float]]:
    """Forecasts of past origins with the average of the global models, and CPU seconds."""
    singles = [each for each in candidates if each != "average"]
    singles += [each for each in MEMBERS if "average" in candidates and each not in singles]
    options = {name: {"horizon": HORIZON} for name in MEMBERS}
    forecasts: dict[str, Doubles] = {}
    seconds: dict[str, float] = {}
    found = None
    for name in singles:
        began = time.process_time()
        found = backtest(
            panel, {name: partial(make, name, options, SEED)}, origins, HORIZON, fits=fits
        )
        seconds[name] = time.process_time() - began
        forecasts[name] = found.forecasts[name]
        print(f"{name}: {seconds[name]:.1f} CPU seconds", file=sys.stderr, flush=True)
    assert found is not None
    if "average" in candidates:
        forecasts["average"] = np.mean([forecasts[each] for each in MEMBERS], axis=0)
    forecasts = {name: forecasts[name] for name in candidates}
    return Backtest(found.origins, found.actual, forecasts, found.scale, found.spread), seconds


def covered(past: Backtest, now: Backtest, name: str) -> dict[str, metrics.RatioMetric]:
    """Coverage of days and of the 14-day sum, before the holidays and over all origins."""
    quantiles, sums = [], []
    for place in range(NUMBER):
        seen = np.concatenate([past.forecasts[name], now.forecasts[name][:place]])
        came = np.concatenate([past.actual, now.actual[:place]])
        # What lies within a horizon of the origin had not been seen then; origins are one apart.
        made = ConformalCalibration.of(seen, came)
        quantiles.append(made.quantiles(now.forecasts[name][place], LEVELS))
        sums.append(made.sum_quantiles(now.forecasts[name][place], HORIZON, LEVELS))
    days, totals = np.stack(quantiles), np.stack(sums)[:, :, None]
    actual, total = now.actual, now.actual.sum(axis=2, keepdims=True)
    found = {metrics.PINBALL: metrics.pinball(days, actual, LEVELS)}
    for key, low, high in ((metrics.COVERAGE_80, 1, 5), (metrics.COVERAGE_90, 0, 6)):
        for of, span in (("quiet", slice(0, QUIET)), ("all", slice(0, NUMBER))):
            found[f"{key}_{of}"] = metrics.coverage(
                days[span, ..., low], days[span, ..., high], actual[span]
            )
            found[f"sum_{key}_{of}"] = metrics.coverage(
                totals[span, ..., low], totals[span, ..., high], total[span]
            )
    return found


if __name__ == "__main__":
    main()
