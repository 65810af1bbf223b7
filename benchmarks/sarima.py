"""CPU time of SARIMA on many series, compared with statsmodels and statsforecast in one run.

    python benchmarks/sarima.py
    python benchmarks/sarima.py --many 50000

All fit the same simulated series with the order (0,1,1)(0,1,1,7). statsmodels runs with
`concentrate_scale=True, simple_differencing=True` and `cov_type='none'`; statsforecast, where it is
installed (`pip install statsforecast`; it is no dependency), fits the order by maximum likelihood.
Prints one JSON object. The time of compiling is not counted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.forecasters.sarima import Sarima, SarimaParams

ORDER, PERIOD, HORIZON = (0, 1, 1, 0, 1, 1), 7, 14


def main() -> None:
    """Measures and prints the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=int, default=100, help="series that all libraries fit")
    parser.add_argument("--many", type=int, default=50_000, help="series of the large run")
    parser.add_argument("--days", type=int, default=365)
    args = parser.parse_args()
    print(json.dumps(measure(args.peers, args.many, args.days), indent=1))


def measure(peers: int, many: int, days: int) -> dict[str, Any]:
    """CPU time per series, ratios, agreement of the likelihoods, and the large run."""
    y = simulate_series(peers, days, seed=7)
    panel = build_panel(y)
    small_panel = build_panel(y[:2])
    new_sarima().fit(small_panel).forecast(small_panel, HORIZON)
    model = new_sarima()
    fit_seconds = cpu_seconds(lambda: model.fit(panel))
    forecast_seconds = cpu_seconds(lambda: model.forecast(panel, HORIZON), repeats=5)
    print(f"this library: {fit_seconds:.3f} s, {forecast_seconds:.4f} s", file=sys.stderr)
    statsmodels = measure_statsmodels(y, model.series_table["parameters"])
    gap = model.series_table["log_likelihood"] - statsmodels["log_likelihood"]
    report: dict[str, Any] = {
        "order": "(0,1,1)(0,1,1,7)",
        "series": peers,
        "days": days,
        "fit_ms": {
            "ours": 1e3 * fit_seconds / peers,
            "statsmodels": 1e3 * statsmodels["fit"] / peers,
        },
        "inference_ms": {
            "ours": 1e3 * forecast_seconds / peers,
            "statsmodels": 1e3 * statsmodels["filter"] / peers,
        },
        "fit_times_statsmodels": statsmodels["fit"] / fit_seconds,
        "inference_times_statsmodels": statsmodels["filter"] / forecast_seconds,
        "largest_difference_at_equal_parameters": statsmodels["difference"],
        "share_within_0.1_or_above": float((gap >= -0.1).mean()),
        "smallest_gap": float(gap.min()),
    }
    statsforecast_seconds = measure_statsforecast(y)
    if statsforecast_seconds is not None:
        report["fit_ms"]["statsforecast"] = 1e3 * statsforecast_seconds / peers
        report["fit_times_statsforecast"] = statsforecast_seconds / fit_seconds
    report["large"] = measure_many(many, days)
    return report


def measure_many(many: int, days: int) -> dict[str, float]:
    """CPU seconds of fit and forecast of many series, and the process's peak memory in GiB."""
    panel = build_panel(simulate_series(many, days, seed=8))
    model = new_sarima()
    fit_seconds = cpu_seconds(lambda: model.fit(panel))
    forecast_seconds = cpu_seconds(lambda: model.forecast(panel, HORIZON))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "series": many,
        "fit_seconds": fit_seconds,
        "forecast_seconds": forecast_seconds,
        "peak_gib": peak,
    }


def simulate_series(n: int, days: int, seed: int) -> Doubles:
    """Random-walk levels and weekday patterns with noise, (n, days)."""
    random, y = np.random.default_rng(seed), np.empty((n, days))
    # In parts, which need less memory.
    for start in range(0, n, 5000):
        part = y[start : start + 5000]
        part[:] = 30 + random.normal(0, 1, part.shape)
        part += np.cumsum(random.normal(0, 0.3, part.shape), axis=1)
        weekdays = random.normal(0, 2, (len(part), PERIOD))
        for day in range(days):
            weekday = day % PERIOD
            weekdays[:, weekday] += random.normal(0, 0.2, len(part))
            part[:, day] += weekdays[:, weekday]
    return y


def build_panel(y: Doubles) -> Panel:
    """A panel whose series are named by their number."""
    return Panel(list(map(str, range(len(y)))), 0, y, period=PERIOD)


def new_sarima() -> Sarima:
    """An unfitted model."""
    return Sarima(SarimaParams(order=ORDER))


def cpu_seconds(run: Callable[[], object], repeats: int = 1) -> float:
    """CPU seconds of a call, median of the repeats."""
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        seconds.append(time.process_time() - began)
    return float(np.median(seconds))


def measure_statsmodels(y: Doubles, parameters: Doubles) -> dict[str, Any]:
    """CPU seconds of its fits, and of its filter with our parameters; likelihoods of both."""
    sarimax: Any = importlib.import_module("statsmodels.tsa.statespace.sarimax")

    warnings.simplefilter("ignore")
    fit_seconds = filter_seconds = difference = 0.0
    likelihoods = []
    for row, row_parameters in zip(y, parameters, strict=True):
        model = sarimax.SARIMAX(
            row,
            order=ORDER[:3],
            seasonal_order=(*ORDER[3:], PERIOD),
            concentrate_scale=True,
            simple_differencing=True,
        )
        results: list[Any] = []
        fit = partial(model.fit, disp=0, cov_type="none", maxiter=500)
        fit_seconds += cpu_seconds(partial(_append_result, results, fit))
        likelihoods.append(results[0].llf)
        run_filter = partial(model.filter, row_parameters, cov_type="none")
        filter_seconds += cpu_seconds(partial(_append_result, results, run_filter))
        difference = max(difference, abs(results[1].llf - log_likelihood(row, row_parameters)))
    return {
        "fit": fit_seconds,
        "filter": filter_seconds,
        "log_likelihood": np.array(likelihoods),
        "difference": difference,
    }


def _append_result(results: list[Any], call: Callable[[], Any]) -> None:
    results.append(call())


def log_likelihood(row: Doubles, parameters: Doubles) -> float:
    """Log-likelihood of the compiled filter for one series at given parameters."""
    from batch_predictions.models.demand.kernels.sarima_kernels import likelihood_rows

    statistics, first, end = np.empty((1, 3)), np.zeros(1, np.int64), np.full(1, len(row))
    order = new_sarima().order(PERIOD)
    likelihood_rows(row[None], first, end, order, parameters[None], statistics)
    return float(statistics[0, 0])


def measure_statsforecast(y: Doubles) -> float | None:
    """CPU seconds of its fits with the same order; None where it is not installed."""
    try:
        models: Any = importlib.import_module("statsforecast.models")
    except ImportError:
        return None

    def fit(row: Doubles) -> None:
        models.ARIMA(
            order=ORDER[:3], season_length=PERIOD, seasonal_order=ORDER[3:], method="CSS-ML"
        ).fit(row)

    fit(y[0])
    return cpu_seconds(lambda: list(map(fit, y)))


if __name__ == "__main__":
    main()
