"""SARIMA of many series beside statsmodels and statsforecast: CPU seconds in one run.

    python benchmarks/sarima.py
    python benchmarks/sarima.py --many 50000

The same simulated series and order (0,1,1)(0,1,1,7) for all. statsmodels runs with
`concentrate_scale=True, simple_differencing=True` and `cov_type='none'`; statsforecast, where it is
installed (`pip install statsforecast`; no dependency), with that fixed order by maximum likelihood.
Prints one JSON object; compiling happens before the clock.
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

from batch_predictions.models.demand.forecasters.sarima import Sarima
from batch_predictions.models.demand.panel import Doubles, Panel

ORDER, PERIOD, HORIZON = (0, 1, 1, 0, 1, 1), 7, 14


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=int, default=100, help="series that the peers fit")
    parser.add_argument("--many", type=int, default=50_000, help="series of the large run")
    parser.add_argument("--days", type=int, default=365)
    args = parser.parse_args()
    print(json.dumps(measure(args.peers, args.many, args.days), indent=1))


def measure(peers: int, many: int, days: int) -> dict[str, Any]:
    """CPU seconds per series, ratios, agreement, and the large run."""
    y = simulated(peers, days, seed=7)
    panel = panel_of(y)
    Sarima(order=ORDER).fit(panel_of(y[:2])).forecast(panel_of(y[:2]), HORIZON)
    ours = Sarima(order=ORDER)
    fit, infer = cpu(lambda: ours.fit(panel)), cpu(lambda: ours.forecast(panel, HORIZON), 5)
    print(f"ours: {fit:.3f} s, {infer:.4f} s", file=sys.stderr)
    theirs = statsmodels_(y, ours.learned["parameters"])
    gap = ours.learned["log_likelihood"] - theirs["log_likelihood"]
    report: dict[str, Any] = {
        "order": "(0,1,1)(0,1,1,7)",
        "series": peers,
        "days": days,
        "fit_ms": {"ours": 1e3 * fit / peers, "statsmodels": 1e3 * theirs["fit"] / peers},
        "inference_ms": {
            "ours": 1e3 * infer / peers,
            "statsmodels": 1e3 * theirs["filter"] / peers,
        },
        "fit_times_statsmodels": theirs["fit"] / fit,
        "inference_times_statsmodels": theirs["filter"] / infer,
        "largest_difference_at_equal_parameters": theirs["difference"],
        "share_within_0.1_or_above": float((gap >= -0.1).mean()),
        "smallest_gap": float(gap.min()),
    }
    other = statsforecast_(y)
    if other is not None:
        report["fit_ms"]["statsforecast"] = 1e3 * other / peers
        report["fit_times_statsforecast"] = other / fit
    report["large"] = large(many, days)
    return report


def large(many: int, days: int) -> dict[str, float]:
    """Fit and forecast of many series, and the process's peak memory."""
    panel = panel_of(simulated(many, days, seed=8))
    model = Sarima(order=ORDER)
    fit = cpu(lambda: model.fit(panel))
    forecast = cpu(lambda: model.forecast(panel, HORIZON))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"series": many, "fit_seconds": fit, "forecast_seconds": forecast, "peak_gib": peak}


def simulated(n: int, days: int, seed: int) -> Doubles:
    """Levels that wander, weekdays that wander, and noise, made in parts to save memory."""
    random, found = np.random.default_rng(seed), np.empty((n, days))
    for start in range(0, n, 5000):
        part = found[start : start + 5000]
        k = len(part)
        part[:] = 30 + random.normal(0, 1, part.shape)
        part += np.cumsum(random.normal(0, 0.3, part.shape), axis=1)
        weekdays = random.normal(0, 2, (k, PERIOD))
        for day in range(days):
            place = day % PERIOD
            weekdays[:, place] += random.normal(0, 0.2, k)
            part[:, day] += weekdays[:, place]
    return found


def panel_of(y: Doubles) -> Panel:
    """With numbers for names."""
    return Panel(list(map(str, range(len(y)))), 0, y, period=PERIOD)


def cpu(run: Callable[[], object], repeats: int = 1) -> float:
    """CPU seconds, the median of some repeats."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return float(np.median(taken))


def statsmodels_(y: Doubles, parameters: Doubles) -> dict[str, Any]:
    """Its own fits, and its filter with our parameters on a model that is already built."""
    sarimax: Any = importlib.import_module("statsmodels.tsa.statespace.sarimax")

    warnings.simplefilter("ignore")
    fit = filtered = difference = 0.0
    found = []
    for row, mine in zip(y, parameters, strict=True):
        model = sarimax.SARIMAX(
            row,
            order=ORDER[:3],
            seasonal_order=(*ORDER[3:], PERIOD),
            concentrate_scale=True,
            simple_differencing=True,
        )
        results: list[Any] = []
        fit += cpu(partial(_into, results, model.fit, disp=0, cov_type="none", maxiter=500))
        found.append(results[0].llf)
        filtered += cpu(partial(_into, results, model.filter, mine, cov_type="none"))
        panel = panel_of(row[None])
        ours = Sarima(order=ORDER).keep(["0"], parameters=mine[None])
        difference = max(difference, abs(results[1].llf - likelihood(ours, panel)))
    return {
        "fit": fit,
        "filter": filtered,
        "log_likelihood": np.array(found),
        "difference": difference,
    }


def _into(results: list[Any], work: Callable[..., Any], *given: Any, **named: Any) -> None:
    results.append(work(*given, **named))


def likelihood(model: Sarima, panel: Panel) -> float:
    """Of one series at the stored parameters."""
    from batch_predictions.models.demand.forecasters.sarima_kernels import likelihood_rows

    facts, first = np.empty((1, 3)), np.zeros(1, np.int64)
    last = np.full(1, panel.columns)
    parameters = model.learned["parameters"]
    likelihood_rows(panel.y, first, last, model.order(PERIOD), parameters, facts)
    return float(facts[0, 0])


def statsforecast_(y: Doubles) -> float | None:
    """CPU seconds of fits of the fixed order, None where it is not installed."""
    try:
        models: Any = importlib.import_module("statsforecast.models")
    except ImportError:
        return None

    def fit(row: Doubles) -> None:
        models.ARIMA(
            order=ORDER[:3], season_length=PERIOD, seasonal_order=ORDER[3:], method="CSS-ML"
        ).fit(row)

    fit(y[0])
    return cpu(lambda: list(map(fit, y)))


if __name__ == "__main__":
    main()
