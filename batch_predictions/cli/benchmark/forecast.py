"""`batch-predictions benchmark forecast`: compares forecasters on a public file of series.

The file is Parquet or CSV with the columns series, t, y and part (`train` or `test`). Metrics are
those of the M4 competition: sMAPE, MASE with the in-sample seasonal naive error as its scale, and
OWA, the mean of both relative to Naive2. SARIMA models logarithms where all values of a series are
positive, ETS the values themselves. The order of SARIMA is selected for each series from a small
grid by past origins, and so is the forecaster.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt
import typer

from batch_predictions.cli.console.options import Json
from batch_predictions.cli.console.printing import print_table
from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.forecasters.baselines import (
    Naive2,
    SeasonalAdjustment,
    SeasonalNaive,
    Theta,
)
from batch_predictions.models.demand.forecasters.ets import Ets
from batch_predictions.models.demand.forecasters.per_series_fallback import diverged
from batch_predictions.models.demand.forecasters.sarima import Sarima, SarimaParams
from batch_predictions.settings import SettingsError
from batch_predictions.warehouse.path_sql import escape_pattern

COLUMNS = ("series", "t", "y", "part")
NAIVE2, CHOSEN, SARIMA, COMBINED = "naive2", "chosen", "sarima", "combined"
Order: TypeAlias = tuple[int, int, int, int, int, int]
"""p, d, q, P, D, Q."""
SEASONAL_ORDERS: tuple[Order, ...] = ((0, 1, 1, 0, 1, 1), (1, 0, 1, 0, 1, 1), (1, 1, 1, 1, 0, 0))
PLAIN_ORDERS: tuple[Order, ...] = ((0, 1, 1, 0, 0, 0), (1, 1, 1, 0, 0, 0))
ADJUSTED_ORDER: Order = (1, 1, 1, 0, 0, 0)
"""Order for seasonally adjusted series."""
LONG_PERIODS = {24: 168}
"""A second, longer season by period: hourly series often have a season of a week, too."""
MAX_ORIGINS = 3
"""Past origins, a horizon apart."""
MAX_TRAINING_LENGTH = 2600
"""Newest training values of a series that are used."""
MAX_COMBINED = 3
"""Candidates that are averaged for a series, at most."""
MAX_ERROR_RATIO = 1.1
"""Candidates are averaged where their past errors are within this multiple of the smallest."""
MAX_RELATIVE_ERROR = 5.0
"""Cap of past errors relative to the median candidate, so that one failure does not dominate."""

Method: TypeAlias = Callable[[Panel, Panel, int], Doubles]
"""Forecasts (n, horizon) from the panel to fit, the panel to forecast and the horizon."""


@dataclass(frozen=True)
class SeriesFile:
    """The series of a file.

    Attributes:
        train: training values; all series end in the last column.
        test: values after them, (n, horizon).
    """

    train: Panel
    test: Doubles


@dataclass(frozen=True)
class MethodForecasts:
    """Forecasts of one method.

    Attributes:
        past: forecasts at the past origins, (origins, n, horizon).
        final: forecasts after the training values, (n, horizon).
    """

    past: Doubles
    final: Doubles


def read_series(path: Path, season: int, horizon: int) -> SeriesFile:
    """Reads the series of a file.

    Args:
        path: a CSV or Parquet file.
        season: observations per season, such as 52 for weekly series.
        horizon: number of observations to forecast.

    Raises:
        SettingsError: the file or a column is missing, or a series has no training values or fewer
            test values than the horizon.
    """
    if not path.is_file():
        raise SettingsError(f"there is no file {path}")
    with duckdb.connect(":memory:") as db:
        source = "read_parquet(?)" if path.suffix == ".parquet" else "read_csv(?)"
        columns = db.execute(f"describe select * from {source}", [escape_pattern(path)]).fetchall()
        missing = sorted(set(COLUMNS) - {name for name, *_ in columns})
        if missing:
            raise SettingsError(f"{path} has no column {', '.join(missing)}")
        rows = db.execute(
            "select series::VARCHAR, list(y::DOUBLE order by t) filter (part = 'train'), "
            "list(y::DOUBLE order by t) filter (part = 'test') "
            f"from {source} where y is not null group by 1 order by 1",
            [escape_pattern(path)],
        ).fetchall()
    short = [name for name, train, test in rows if not train or len(test or []) < horizon]
    if short or not rows:
        raise SettingsError(
            f"{path}: {len(short)} series of {len(rows)} have no training values or fewer than "
            f"{horizon} test values, such as {short[:3]}"
        )
    width = min(max(len(train) for _, train, _ in rows), MAX_TRAINING_LENGTH)
    y = np.full((len(rows), width), np.nan)
    for row, (_, train, _) in enumerate(rows):
        newest = train[-width:]
        y[row, width - len(newest) :] = newest
    test_values = np.array([test[:horizon] for _, _, test in rows], float)
    return SeriesFile(Panel([name for name, *_ in rows], 0, y, period=season), test_values)


def measure(
    file: Path, season: int, horizon: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """sMAPE, MASE, OWA and CPU seconds of every method, and of the best ones of each series.

    Args:
        file: a CSV or Parquet file of series.
        season: observations per season, such as 52 for weekly series.
        horizon: number of observations to forecast.
        progress: takes a line of text.
    """
    series = read_series(file, season, horizon)
    panel = series.train
    # At most as many origins as leave two seasons to learn from in the median series.
    length = int(np.median(np.isfinite(panel.y).sum(axis=1)))
    n_origins = int(np.clip((length - 2 * season) // horizon, 1, MAX_ORIGINS))
    origins = [panel.n_columns - horizon * back for back in range(n_origins, 0, -1)]
    actual = np.stack([panel.y[:, origin : origin + horizon] for origin in origins])
    results, seconds = run_methods(panel, build_methods(panel), origins, horizon, progress)
    began = time.process_time()
    candidates = {**results, COMBINED: _median_of_methods(results)}
    past = [candidate.past for candidate in candidates.values()]
    weights = combination_weights(past, actual)
    final = {name: candidate.final for name, candidate in candidates.items()}
    weighted_mean = (weights[:, :, None] * np.stack(list(final.values()))).sum(axis=0)
    final = {
        **{name: final[name] for name in results},
        SARIMA: _best_sarima(results, actual),
        COMBINED: final[COMBINED],
        CHOSEN: weighted_mean,
    }
    total_seconds = sum(seconds.values()) + time.process_time() - began
    seconds[SARIMA] = sum(seconds[name] for name in results if name.startswith(SARIMA))
    seconds[COMBINED] = seconds[CHOSEN] = total_seconds
    reference = compute_metrics(final[NAIVE2], series)
    scores: dict[str, dict[str, Any]] = {
        name: {
            **summarise_metrics(compute_metrics(forecast, series), reference),
            "cpu_seconds": round(seconds[name], 2),
        }
        for name, forecast in final.items()
    }
    series_by_method = {
        name: round(float(weight), 2)
        for name, weight in zip(candidates, weights.sum(axis=1), strict=True)
    }
    chosen_scores = {**scores.pop(CHOSEN), "series_by_method": series_by_method}
    return {
        "series": len(panel),
        "season": season,
        "horizon": horizon,
        "origins": n_origins,
        "methods": scores,
        "chosen": chosen_scores,
    }


def run_methods(
    panel: Panel,
    methods: dict[str, Method],
    origins: Sequence[int],
    horizon: int,
    progress: Callable[[str], None],
) -> tuple[dict[str, MethodForecasts], dict[str, float]]:
    """Forecasts and CPU seconds of every method; it learns once before the first past origin."""
    results: dict[str, MethodForecasts] = {}
    seconds: dict[str, float] = {}
    first = panel.truncate(origins[0])
    for name, method in methods.items():
        began = time.process_time()
        past = np.stack([method(first, panel.truncate(origin), horizon) for origin in origins])
        results[name] = MethodForecasts(past, method(panel, panel, horizon))
        seconds[name] = time.process_time() - began
        progress(f"{name}: {seconds[name]:.1f} CPU seconds")
    return results, seconds


def _best_sarima(results: dict[str, MethodForecasts], actual: Doubles) -> Doubles:
    """Forecasts of each series by the SARIMA order with the smallest past errors, (n, horizon)."""
    candidates = [result for name, result in results.items() if name.startswith(SARIMA)]
    best = best_candidates([candidate.past for candidate in candidates], actual)
    return np.stack([candidate.final for candidate in candidates])[best, np.arange(len(best))]


def _median_of_methods(results: dict[str, MethodForecasts]) -> MethodForecasts:
    """The median of all methods except the naive ones."""
    members = [
        result for name, result in results.items() if name not in (NAIVE2, SeasonalNaive.kind)
    ]
    return MethodForecasts(
        past=np.median([member.past for member in members], axis=0),
        final=np.median([member.final for member in members], axis=0),
    )


def build_methods(panel: Panel) -> dict[str, Method]:
    """The baselines and Theta, then ETS and SARIMA of the grid of orders, by name."""

    def without_params(kind: type[Naive2] | type[Theta] | type[SeasonalNaive]) -> Method:
        return lambda train, current, horizon: kind().fit(train).forecast(current, horizon)

    methods: dict[str, Method] = {
        kind.kind: without_params(kind) for kind in (Naive2, SeasonalNaive, Theta)
    }
    methods[Ets.kind] = _ets
    period = panel.period
    for order in SEASONAL_ORDERS if period > 1 else ():
        methods[sarima_name(order, period)] = _sarima(order, period)
    for order in PLAIN_ORDERS:
        methods[sarima_name(order, 1)] = _sarima(order, 1)
    if period > 1:
        name = f"{sarima_name(ADJUSTED_ORDER, 1)}_adjusted"
        methods[name] = _adjusted_sarima(ADJUSTED_ORDER, period)
    long_period = LONG_PERIODS.get(period)
    if long_period and np.median(np.isfinite(panel.y).sum(axis=1)) >= 4 * long_period:
        order = SEASONAL_ORDERS[1]
        methods[sarima_name(order, long_period)] = _sarima(order, long_period)
    return methods


def sarima_name(order: Order, period: int) -> str:
    """Name of an order and period, such as sarima_011_011_52."""
    p, d, q, *seasonal_order = order
    suffix = f"_{''.join(map(str, seasonal_order))}_{period}" if any(seasonal_order) else ""
    return f"{SARIMA}_{p}{d}{q}{suffix}"


def _ets(train: Panel, current: Panel, horizon: int) -> Doubles:
    """ETS of the values themselves; Theta where it fails or diverges."""
    return _theta_where_diverged(current, Ets().fit(train).filter_means(current, horizon), horizon)


def _sarima(order: Order, period: int) -> Method:
    """SARIMA on logarithms where values are positive; Theta where it fails or diverges."""

    def run(train: Panel, current: Panel, horizon: int) -> Doubles:
        model = Sarima(SarimaParams(order=order, log=True)).fit(replace(train, period=period))
        means = model.filter_means(replace(current, period=period), horizon)
        return _theta_where_diverged(current, means, horizon)

    return run


def _adjusted_sarima(order: Order, period: int) -> Method:
    """SARIMA on seasonally adjusted series; the season is that of the panel to forecast."""

    def run(train: Panel, current: Panel, horizon: int) -> Doubles:
        adjustments = [SeasonalAdjustment(row[np.isfinite(row)], period) for row in current.y]

        def adjusted(panel: Panel) -> Panel:
            y = panel.y.copy()
            for row, adjustment in zip(y, adjustments, strict=True):
                row[np.isfinite(row)] = adjustment.remove(row[np.isfinite(row)])
            return replace(panel, y=y, period=1)

        model = Sarima(SarimaParams(order=order, log=True)).fit(adjusted(train))
        means = model.filter_means(adjusted(current), horizon)
        for row, adjustment in enumerate(adjustments):
            length = int(np.isfinite(current.y[row]).sum())
            means[row] = adjustment.restore(means[row], length)
        return _theta_where_diverged(current, means, horizon)

    return run


def _theta_where_diverged(panel: Panel, means: Doubles, horizon: int) -> Doubles:
    is_diverged = diverged(panel, means)
    if is_diverged.any():
        means[is_diverged] = Theta().forecast(panel.take(is_diverged), horizon)
    return np.asarray(means)


def best_candidates(past: Sequence[Doubles], actual: Doubles) -> npt.NDArray[np.int64]:
    """Number of the candidate with the smallest past errors of each series, (n,)."""
    return np.asarray(_past_errors(past, actual).argmin(axis=0))


def combination_weights(past: Sequence[Doubles], actual: Doubles) -> Doubles:
    """Weight of each candidate in the forecast of each series, (candidates, n).

    The best candidate and up to two others are averaged where their past errors are within 10 % of
    the best candidate's.
    """
    errors = _past_errors(past, actual)
    ranked = np.sort(errors, axis=0)
    is_close = errors <= MAX_ERROR_RATIO * ranked[0]
    is_among_best = errors <= ranked[min(MAX_COMBINED, len(errors)) - 1]
    is_selected = is_close & is_among_best
    return np.asarray(is_selected / is_selected.sum(axis=0))


def _past_errors(past: Sequence[Doubles], actual: Doubles) -> Doubles:
    """Mean absolute errors at past origins relative to the median candidate, (candidates, n).

    The errors of a series are shrunk towards those of all series, which count as one origin.
    """
    errors = np.stack([np.nansum(np.abs(forecast - actual), axis=2) for forecast in past])
    median = np.maximum(np.median(errors, axis=0), 1e-12)
    relative = np.minimum(errors / median, MAX_RELATIVE_ERROR)
    by_series, overall = relative.mean(axis=1), relative.mean(axis=(1, 2))
    return np.asarray(by_series + overall[:, None] / len(actual))


def compute_metrics(forecast: Doubles, series: SeriesFile) -> tuple[Doubles, Doubles]:
    """SMAPE in per cent and MASE of each series, (n,) each; MASE is nan for constant series."""
    magnitude = np.abs(forecast) + np.abs(series.test)
    errors = np.abs(forecast - series.test)
    smape = np.divide(200 * errors, magnitude, out=np.zeros_like(errors), where=magnitude > 0)
    scale = np.array([naive_error(row, series.train.period) for row in series.train.y])
    is_usable = scale > 0
    mase = np.full(len(scale), np.nan)
    mase[is_usable] = errors[is_usable].mean(axis=1) / scale[is_usable]
    return smape.mean(axis=1), mase


def naive_error(row: Doubles, season: int) -> float:
    """In-sample mean absolute error of the seasonal naive; of the plain one for short series."""
    y = row[np.isfinite(row)]
    lag = season if len(y) > season else 1
    return float(np.abs(y[lag:] - y[:-lag]).mean()) if len(y) > lag else 0.0


def summarise_metrics(
    metrics: tuple[Doubles, Doubles], reference: tuple[Doubles, Doubles]
) -> dict[str, float]:
    """Means of sMAPE and MASE, and OWA: the mean of both relative to the reference's."""
    smape, mase = float(np.mean(metrics[0])), float(np.nanmean(metrics[1]))
    owa = 0.5 * (smape / float(np.mean(reference[0])) + mase / float(np.nanmean(reference[1])))
    return {"smape": round(smape, 4), "mase": round(mase, 4), "owa": round(owa, 4)}


def main(
    file: Annotated[Path, typer.Argument(help="Parquet or CSV: series, t, y, part (train, test).")],
    season: Annotated[int, typer.Option(min=1, help="Steps of a season: 52 weeks, 24 hours.")],
    horizon: Annotated[int, typer.Option(min=1, help="Steps to forecast.")],
    as_json: Json = False,
) -> None:
    """sMAPE, MASE and OWA by M4's formula: SARIMA, ETS, Naive2, seasonal naive and Theta."""
    report = measure(file, season, horizon, lambda text: typer.echo(text, err=True))
    if as_json:
        typer.echo(json.dumps(report))
        return
    per_series = {k: v for k, v in report["chosen"].items() if k != "series_by_method"}
    rows = {**report["methods"], "chosen per series": per_series}
    print_table([{"method": name, **metrics} for name, metrics in rows.items()])
