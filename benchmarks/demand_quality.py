"""Accuracy of every demand forecaster on the Complete Journey, from 8 October 2017 on.

    python benchmarks/demand_quality.py
    python benchmarks/demand_quality.py --by category --top 100 --candidates linear_regression,gru
    python benchmarks/demand_quality.py --development

Six origins 14 days apart, the first at the end of 8 October, with a horizon of 14 days; the series
are the best sellers up to that day. `--development` measures on the six origins before it, on which
the settings of the forecasters were tuned. The quantiles of an origin are calibrated on the six
origins before 8 October and on the later ones that precede it. Prints one JSON object; progress
goes to the standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from complete_journey_data import sales_panel

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.intervals import Interval, percentile_interval
from batch_predictions.models.demand import demand_metrics
from batch_predictions.models.demand.backtest import Backtest, run_backtest
from batch_predictions.models.demand.conformal import QUANTILE_LEVELS, ConformalCalibration
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.demand_model import forecast_by_champions
from batch_predictions.models.demand.demand_selection import (
    PER_SERIES,
    candidate_names,
    make_candidate,
)
from batch_predictions.models.demand.forecasters.ensembles import AverageForecaster
from batch_predictions.settings import DemandSettings
from batch_predictions.sources.adapters.complete_journey_year import FIRST_DAY

FIRST_ORIGIN, STEP_SIZE, ORIGINS, HORIZON, SEED = dt.date(2017, 10, 8), 14, 6, 14, 7
ORIGINS_BEFORE_HOLIDAYS = 3
"""Origins whose horizon ends before Thanksgiving."""
REFERENCES = ("linear_regression", "mean28_weekday", "seasonal_naive")
"""Forecasters to which the WAPE of the others is compared."""
CONFIG = DemandSettings(horizon=HORIZON, seed=SEED)
CANDIDATES = (*candidate_names(CONFIG), "gru", "average")


def main() -> None:
    """Measures and prints the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--top", type=int, default=500, help="number of series")
    parser.add_argument("--by", choices=["product", "category"], default="product")
    parser.add_argument("--candidates", default=",".join(CANDIDATES))
    parser.add_argument("--fits", type=int, default=1, help="fits over the six origins")
    parser.add_argument("--development", action="store_true", help="the six origins before")
    args = parser.parse_args()
    first = FIRST_ORIGIN
    if args.development:
        first -= dt.timedelta(days=STEP_SIZE * ORIGINS)
    panel = sales_panel(args.top, first, args.by)
    print(json.dumps(measure(panel, args.candidates.split(","), args.fits, first), indent=1))


def measure(panel: Panel, candidates: Sequence[str], fits: int, first: dt.date) -> dict[str, Any]:
    """Metrics of every candidate, differences to the references, and coverage of the intervals."""
    known_columns = (first - FIRST_DAY).days + 1
    origins = [known_columns + STEP_SIZE * step for step in range(ORIGINS)]
    earlier_origins = [known_columns - STEP_SIZE * step for step in range(ORIGINS, 0, -1)]
    backtest, seconds = backtest_candidates(panel, candidates, origins, fits)
    earlier, _ = backtest_candidates(panel, candidates, earlier_origins, 1)
    backtest, earlier = add_champions(backtest, earlier)
    report: dict[str, dict[str, Any]] = {}
    for name in backtest.forecasts:
        report[name] = {
            **candidate_report(backtest, earlier, name),
            "cpu_seconds": round(seconds.get(name, 0.0), 1),
            **reference_differences(backtest, name),
        }
    return {
        "series": len(panel),
        "first_origin": str(first),
        "origins": ORIGINS,
        "fits": fits,
        "candidates": report,
    }


def backtest_candidates(
    panel: Panel, candidates: Sequence[str], origins: Sequence[int], fits: int
) -> tuple[Backtest, dict[str, float]]:
    """Forecasts at the origins, and CPU seconds of every candidate but the average."""
    members = make_average().member_names() if AverageForecaster.kind in candidates else ()
    names = [name for name in candidates if name != AverageForecaster.kind]
    forecasts: dict[str, Doubles] = {}
    seconds: dict[str, float] = {}
    backtest = None
    for name in dict.fromkeys([*names, *members]):
        began = time.process_time()
        makers = {name: partial(make_candidate, name, CONFIG)}
        backtest = run_backtest(panel, makers, origins, HORIZON, n_fits=fits)
        seconds[name] = time.process_time() - began
        forecasts[name] = backtest.forecasts[name]
        print(f"{name}: {seconds[name]:.1f} CPU seconds", file=sys.stderr, flush=True)
    assert backtest is not None
    if members:
        average = make_average().combine([forecasts[name] for name in members])
        forecasts[AverageForecaster.kind] = average
    return replace(backtest, forecasts={name: forecasts[name] for name in candidates}), seconds


def make_average() -> AverageForecaster:
    """The unfitted average of the global models."""
    forecaster = make_candidate(AverageForecaster.kind, CONFIG)
    assert isinstance(forecaster, AverageForecaster)
    return forecaster


def add_champions(backtest: Backtest, earlier: Backtest) -> tuple[Backtest, Backtest]:
    """Both backtests with each series' champion, chosen by all origins before an origin."""
    forecasts = {
        name: np.concatenate([earlier.forecasts[name], forecast])
        for name, forecast in backtest.forecasts.items()
    }
    actual = np.concatenate([earlier.actual, backtest.actual])
    selected, _ = forecast_by_champions(forecasts, actual)
    return (
        replace(backtest, forecasts={**backtest.forecasts, PER_SERIES: selected[ORIGINS:]}),
        replace(earlier, forecasts={**earlier.forecasts, PER_SERIES: selected[:ORIGINS]}),
    )


def candidate_report(backtest: Backtest, earlier: Backtest, name: str) -> dict[str, Any]:
    """Metrics over all origins, and WAPE and bias of each origin."""
    forecast, actual = backtest.forecasts[name], backtest.actual
    ratios = {
        demand_metrics.WAPE: demand_metrics.wape(forecast, actual),
        demand_metrics.WAPE_SUM: demand_metrics.wape_sum(forecast, actual),
        demand_metrics.BIAS: demand_metrics.bias(forecast, actual),
        demand_metrics.RMSSE: demand_metrics.rmsse(forecast, actual, backtest.naive_mse),
        demand_metrics.MASE: demand_metrics.mase(forecast, actual, backtest.naive_mae),
        **quantile_metrics(backtest, earlier, name),
    }
    report: dict[str, Any] = {metric: round(ratio.value, 4) for metric, ratio in ratios.items()}
    spans = [slice(origin, origin + 1) for origin in range(ORIGINS)]
    for metric in (demand_metrics.wape, demand_metrics.bias):
        report[f"{metric.__name__}_by_origin"] = [
            round(metric(forecast[span], actual[span]).value, 3) for span in spans
        ]
    return report


def reference_differences(backtest: Backtest, name: str) -> dict[str, list[float]]:
    """Relative difference of the WAPE to each reference: value, lower and upper end."""
    wape = demand_metrics.wape(backtest.forecasts[name], backtest.actual)
    differences = {}
    for reference in REFERENCES:
        if reference in backtest.forecasts and reference != name:
            reference_wape = demand_metrics.wape(backtest.forecasts[reference], backtest.actual)
            difference = relative_difference(wape, reference_wape)
            differences[f"wape_to_{reference}"] = [
                round(value, 4) for value in (difference.mean, difference.lower, difference.upper)
            ]
    return differences


def relative_difference(
    metric: demand_metrics.RatioMetric, reference: demand_metrics.RatioMetric
) -> Interval:
    """The metric divided by the reference, minus 1, with its interval, paired by series."""
    ratios = metric.resample(SEED) / reference.resample(SEED)
    return percentile_interval(
        metric.value / reference.value - 1, ratios - 1, len(metric.numerator)
    )


def quantile_metrics(
    backtest: Backtest, earlier: Backtest, name: str
) -> dict[str, demand_metrics.RatioMetric]:
    """Pinball loss, and coverage of days and 14-day sums, before the holidays and overall."""
    forecast, actual = backtest.forecasts[name], backtest.actual
    quantiles, sum_quantiles = [], []
    for origin in range(ORIGINS):
        # Origins are a horizon apart, so that the values of earlier origins are known at an origin.
        calibration = ConformalCalibration.fit(
            np.concatenate([earlier.forecasts[name], forecast[:origin]]),
            np.concatenate([earlier.actual, actual[:origin]]),
        )
        quantiles.append(calibration.quantiles(forecast[origin], QUANTILE_LEVELS))
        sum_quantiles.append(calibration.sum_quantiles(forecast[origin], HORIZON, QUANTILE_LEVELS))
    days, sums = np.stack(quantiles), np.stack(sum_quantiles)[:, :, None]
    actual_sums = actual.sum(axis=2, keepdims=True)
    ratios = {demand_metrics.PINBALL: demand_metrics.pinball(days, actual, QUANTILE_LEVELS)}
    periods = {"quiet": slice(0, ORIGINS_BEFORE_HOLIDAYS), "all": slice(0, ORIGINS)}
    for metric, low, high in (
        (demand_metrics.COVERAGE_80, 1, 5),
        (demand_metrics.COVERAGE_90, 0, 6),
    ):
        for period, span in periods.items():
            ratios[f"{metric}_{period}"] = demand_metrics.coverage(
                days[span, ..., low], days[span, ..., high], actual[span]
            )
            ratios[f"sum_{metric}_{period}"] = demand_metrics.coverage(
                sums[span, ..., low], sums[span, ..., high], actual_sums[span]
            )
    return ratios


if __name__ == "__main__":
    main()
