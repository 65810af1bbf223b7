"""`batch-predictions benchmark forecast`: every method on a public file of series.

The file is Parquet or CSV with the columns series, t, y and part (`train` or `test`). Measures are
the M4 competition's: sMAPE, MASE over the in-sample naive of one season, and OWA, the mean of both
as shares of Naive2's. SARIMA runs on logarithms where all values are positive, its order chosen for
each series from a small grid by past origins, as is the method.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from batch_predictions.models.demand.forecasters.baselines import SeasonalNaive
from batch_predictions.models.demand.forecasters.sarima import Sarima, diverged
from batch_predictions.models.demand.forecasters.smoothing import Naive2, SeasonalAdjustment, Theta
from batch_predictions.models.demand.panel import Doubles, Panel
from batch_predictions.settings import SettingsError

COLUMNS = ("series", "t", "y", "part")
NAIVE2, CHOSEN, SARIMA, COMBINED = "naive2", "chosen", "sarima", "combined"
SEASONAL_ORDERS = ((0, 1, 1, 0, 1, 1), (1, 0, 1, 0, 1, 1), (1, 1, 1, 1, 0, 0))
PLAIN_ORDERS = ((0, 1, 1, 0, 0, 0), (1, 1, 1, 0, 0, 0))
ADJUSTED_ORDER = (1, 1, 1, 0, 0, 0)
LONGER = {24: 168}
"""A second season that series of a season often have: hours have weeks."""
ORIGINS = 3
"""Past origins, a horizon apart."""
LONGEST = 2600
TOGETHER, CLOSE = 3, 1.1
"""Candidates that forecast a series together, at most, and how close they are to the best."""


@dataclass(frozen=True)
class Read:
    """A file's series: training values right-aligned, and what came after them."""

    train: Panel
    test: Doubles


Method = Callable[[Panel, Panel, int], Doubles]
"""Forecasts of a panel with what was learned from another, older or equal one."""


def read(path: Path, season: int, horizon: int) -> Read:
    """The series of a file.

    Raises:
        SettingsError: the file, or a column, is missing; or a series has too few test values.
    """
    if not path.is_file():
        raise SettingsError(f"there is no file {path}")
    with duckdb.connect(":memory:") as db:
        source = "read_parquet(?)" if path.suffix == ".parquet" else "read_csv(?)"
        columns = db.execute(f"describe select * from {source}", [str(path)]).fetchall()
        missing = sorted(set(COLUMNS) - {each[0] for each in columns})
        if missing:
            raise SettingsError(f"{path} has no column {', '.join(missing)}")
        rows = db.execute(
            "select series::VARCHAR, list(y::DOUBLE order by t) filter (part = 'train'), "
            "list(y::DOUBLE order by t) filter (part = 'test') "
            f"from {source} where y is not null group by 1 order by 1",
            [str(path)],
        ).fetchall()
    short = [name for name, train, test in rows if not train or len(test or []) < horizon]
    if short or not rows:
        raise SettingsError(
            f"{path}: {len(short)} series of {len(rows)} have no training values or fewer than "
            f"{horizon} test values, such as {short[:3]}"
        )
    width = min(max(len(train) for _, train, _ in rows), LONGEST)
    y = np.full((len(rows), width), np.nan)
    for row, (_, train, _) in enumerate(rows):
        kept = train[-width:]
        y[row, width - len(kept) :] = kept
    test = np.array([each[2][:horizon] for each in rows], float)
    return Read(Panel([each[0] for each in rows], 0, y, period=season), test)


def benchmark(
    file: Path, season: int, horizon: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """sMAPE, MASE, OWA and CPU seconds of every method, and of the one chosen per series."""
    given = read(file, season, horizon)
    panel, methods = given.train, methods_of(given.train)
    # Past origins that leave most of a series two seasons to learn from.
    typical = int(np.median(np.isfinite(panel.y).sum(axis=1)))
    number = int(np.clip((typical - 2 * season) // horizon, 1, ORIGINS))
    origins = [panel.columns - horizon * back for back in range(number, 0, -1)]
    final: dict[str, Doubles] = {}
    past: dict[str, Doubles] = {}
    seconds: dict[str, float] = {}
    for name, method in methods.items():
        began = time.process_time()
        first = panel.until(origins[0])
        past[name] = np.stack([method(first, panel.until(each), horizon) for each in origins])
        final[name] = method(panel, panel, horizon)
        seconds[name] = time.process_time() - began
        progress(f"{name}: {seconds[name]:.1f} CPU seconds")
    began = time.process_time()
    actual = np.stack([panel.y[:, each : each + horizon] for each in origins])
    orders = [name for name in methods if name.startswith(SARIMA)]
    best = champions_of([past[each] for each in orders], actual)
    final[SARIMA] = np.stack([final[each] for each in orders])[best, np.arange(len(panel))]
    seconds[SARIMA] = sum(seconds[each] for each in orders)
    # The middle of everything but the naive ones, for series on which no method leads.
    middle = [each for each in methods if each not in (NAIVE2, SeasonalNaive.kind)]
    past[COMBINED] = np.median([past[each] for each in middle], axis=0)
    final[COMBINED] = np.median([final[each] for each in middle], axis=0)
    candidates = [*methods, COMBINED]
    shares = shares_of([past[each] for each in candidates], actual)
    stacked = np.stack([final[each] for each in candidates])
    final[CHOSEN] = (shares[:, :, None] * stacked).sum(axis=0)
    spare = time.process_time() - began
    seconds[COMBINED] = seconds[CHOSEN] = sum(seconds[each] for each in methods) + spare
    reference = measures(final[NAIVE2], given)
    figures = {
        name: {**scored(measures(each, given), reference), "cpu_seconds": round(seconds[name], 2)}
        for name, each in final.items()
    }
    return {
        "series": len(panel),
        "season": season,
        "horizon": horizon,
        "origins": number,
        "methods": {name: each for name, each in figures.items() if name != CHOSEN},
        "chosen": {
            **figures[CHOSEN],
            "series_by_method": {
                name: round(float(share), 2)
                for name, share in zip(candidates, shares.sum(axis=1), strict=True)
            },
        },
    }


def methods_of(panel: Panel) -> dict[str, Method]:
    """Strong baselines first, then the grid of orders."""

    def simple(kind: type[Naive2] | type[Theta] | type[SeasonalNaive]) -> Method:
        return lambda learned, now, horizon: kind().fit(learned).forecast(now, horizon)

    found: dict[str, Method] = {each.kind: simple(each) for each in (Naive2, SeasonalNaive, Theta)}
    period = panel.period
    for order in SEASONAL_ORDERS if period > 1 else ():
        found[name_of(order, period)] = _sarima(order, period, adjusted=False)
    for order in PLAIN_ORDERS:
        found[name_of(order, 1)] = _sarima(order, 1, adjusted=False)
    if period > 1:
        found[f"{name_of(ADJUSTED_ORDER, 1)}_adjusted"] = _sarima(ADJUSTED_ORDER, period, True)
    longer = LONGER.get(period)
    if longer and np.median(np.isfinite(panel.y).sum(axis=1)) >= 4 * longer:
        order = SEASONAL_ORDERS[1]
        found[name_of(order, longer)] = _sarima(order, longer, adjusted=False)
    return found


def name_of(order: tuple[int, ...], period: int) -> str:
    """Such as sarima_011_011_52."""
    p, d, q, *season = order
    seasonal = f"_{''.join(map(str, season))}_{period}" if any(season) else ""
    return f"{SARIMA}_{p}{d}{q}{seasonal}"


def _sarima(order: tuple[int, ...], period: int, adjusted: bool) -> Method:
    """SARIMA on logarithms where positive; Theta where a series has no fit or a wild forecast."""
    from dataclasses import replace

    def run(learned: Panel, now: Panel, horizon: int) -> Doubles:
        seasons = [_season(row, period) for row in now.y] if adjusted else []

        def prepared(panel: Panel) -> Panel:
            if not adjusted:
                return replace(panel, period=period)
            y = np.stack([_without(row, s) for row, s in zip(panel.y, seasons, strict=True)])
            return replace(panel, y=y, period=1)

        model = Sarima(order=list(order), log=True).fit(prepared(learned))
        means = model.filtered(prepared(now), horizon)
        if adjusted:
            for row, season in enumerate(seasons):
                means[row] = season.put_back(means[row], int(np.isfinite(now.y[row]).sum()))
        gone = diverged(now, means)
        if gone.any():
            means[gone] = Theta().forecast(now.take(gone), horizon)
        return np.asarray(means)

    return run


def _season(row: Doubles, period: int) -> SeasonalAdjustment:
    return SeasonalAdjustment(row[np.isfinite(row)], period)


def _without(row: Doubles, season: SeasonalAdjustment) -> Doubles:
    there, found = np.isfinite(row), row.copy()
    found[there] = season.remove(row[there])
    return found


def champions_of(past: list[Doubles], actual: Doubles) -> npt.NDArray[np.int64]:
    """The best candidate of each series by its past errors, (n,)."""
    return np.asarray(_past_errors(past, actual).argmin(axis=0))


def shares_of(past: list[Doubles], actual: Doubles) -> Doubles:
    """Each candidate's share in the chosen forecast, (candidates, n): the champion of the series,
    or the mean of up to `TOGETHER` whose past errors are about as small as the champion's."""
    errors = _past_errors(past, actual)
    ranked = np.sort(errors, axis=0)
    close = (errors <= CLOSE * ranked[0]) & (errors <= ranked[min(TOGETHER, len(errors)) - 1])
    return np.asarray(close / close.sum(axis=0))


def _past_errors(past: list[Doubles], actual: Doubles) -> Doubles:
    """Absolute errors of past origins, (candidates, n), relative to the candidates' median and
    drawn to what they are for everyone as strongly as by one origin."""
    error = np.stack([np.nansum(np.abs(each - actual), axis=2) for each in past])
    typical = np.maximum(np.median(error, axis=0), 1e-12)
    relative = np.minimum(error / typical, 5.0)
    mine, everyone = relative.mean(axis=1), relative.mean(axis=(1, 2))
    return np.asarray(mine + everyone[:, None] / len(actual))


def measures(forecast: Doubles, given: Read) -> tuple[Doubles, Doubles]:
    """sMAPE in per cent and MASE of every series."""
    both = np.abs(forecast) + np.abs(given.test)
    error = np.abs(forecast - given.test)
    smape = np.divide(200 * error, both, out=np.zeros_like(error), where=both > 0).mean(axis=1)
    scale = np.array([naive_error(row, given.train.period) for row in given.train.y])
    usable = scale > 0
    mase = np.full(len(scale), np.nan)
    mase[usable] = error[usable].mean(axis=1) / scale[usable]
    return smape, mase


def naive_error(row: Doubles, season: int) -> float:
    """In-sample mean absolute error of the naive of one season; of one step for short series."""
    y = row[np.isfinite(row)]
    lag = season if len(y) > season else 1
    return float(np.abs(y[lag:] - y[:-lag]).mean()) if len(y) > lag else 0.0


def scored(mine: tuple[Doubles, Doubles], reference: tuple[Doubles, Doubles]) -> dict[str, float]:
    """Means over series, and OWA: the mean of both relative to Naive2's means."""
    smape, mase = float(np.mean(mine[0])), float(np.nanmean(mine[1]))
    owa = 0.5 * (smape / float(np.mean(reference[0])) + mase / float(np.nanmean(reference[1])))
    return {"smape": round(smape, 4), "mase": round(mase, 4), "owa": round(owa, 4)}
