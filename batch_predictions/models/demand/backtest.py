"""Backtests: forecasts of several methods at past origins, with the values observed since."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.data.panel import Doubles, Panel


@dataclass(frozen=True)
class Backtest:
    """Forecasts at past origins and what was observed.

    Attributes:
        origins: numbers of columns that were known at the origins, ascending.
        actual: observed values, (origins, n, horizon); nan where nothing was observed.
        forecasts: forecasts of the same shape by method.
        naive_mse: mean squared error of the seasonal naive forecast on the columns before the first
            origin, (n,): the denominator of RMSSE.
        naive_mae: its mean absolute error, (n,): the denominator of MASE.
    """

    origins: tuple[int, ...]
    actual: Doubles
    forecasts: Mapping[str, Doubles]
    naive_mse: Doubles
    naive_mae: Doubles

    @property
    def horizon(self) -> int:
        """Columns that were forecast at each origin."""
        return self.actual.shape[2]


def backtest_origins(
    n_columns: int, horizon: int, n_origins: int, step_size: int
) -> tuple[int, ...]:
    """Returns the last origins whose whole horizon has been observed, ascending, `step_size` apart.

    Args:
        n_columns: columns of the panel.
        horizon: columns that are forecast at each origin.
        n_origins: number of origins; the first ones are negative if the panel is too short.
        step_size: columns between origins.
    """
    newest = n_columns - horizon
    return tuple(newest - step_size * back for back in range(n_origins - 1, -1, -1))


def run_backtest(
    panel: Panel,
    makers: Mapping[str, Callable[[], Forecaster]],
    origins: Sequence[int],
    horizon: int,
    *,
    n_fits: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> Backtest:
    """Forecasts with every method at every origin, from what was known at the origin.

    A method is fitted at `n_fits` of the origins, evenly spread from the first one on. Between fits
    its parameters stay as they are and it forecasts from the newest values, as in production.

    Args:
        panel: all columns.
        makers: functions that make an unfitted forecaster, by method.
        origins: numbers of known columns, ascending.
        horizon: columns to forecast.
        n_fits: number of fits, from 1 to the number of origins.
        progress: called with a line of text after each method.
    """
    n_origins = len(origins)
    fit_positions = {round(fit * n_origins / n_fits) for fit in range(min(n_fits, n_origins))}
    forecasts: dict[str, list[Doubles]] = {name: [] for name in makers}
    for name, make in makers.items():
        fitted: Forecaster | None = None
        for position, origin in enumerate(origins):
            past = panel.truncate(origin)
            if fitted is None or position in fit_positions:
                fitted = make().fit(past)
            forecasts[name].append(fitted.forecast(past, horizon))
        progress(f"{name}: {n_origins} origins")
    actual = np.stack([panel.y[:, origin : origin + horizon] for origin in origins])
    before = panel.y[:, : origins[0]]
    naive_errors = before[:, panel.period :] - before[:, : -panel.period]
    with np.errstate(invalid="ignore"):
        counts = np.maximum(np.isfinite(naive_errors).sum(axis=1), 1)
        naive_mse = np.nansum(naive_errors**2, axis=1) / counts
        naive_mae = np.nansum(np.abs(naive_errors), axis=1) / counts
    stacked = {name: np.stack(by_origin) for name, by_origin in forecasts.items()}
    return Backtest(tuple(origins), actual, stacked, naive_mse, naive_mae)
