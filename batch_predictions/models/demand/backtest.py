"""Rolling origins: what every method would have forecast then, beside what came."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.panel import Doubles, Panel


@dataclass(frozen=True)
class Backtest:
    """Forecasts of past origins.

    Attributes:
        origins: columns that were known at each.
        actual: (origins, n, horizon), nan where nothing was observed.
        forecasts: the same shape, by method.
        scale: (n,), mean square of the one-season-naive error before the first origin's day, the
            denominator of RMSSE and, by its root's absolute sibling `spread`, of MASE.
        spread: (n,), mean absolute one-season-naive error before the first origin.
    """

    origins: tuple[int, ...]
    actual: Doubles
    forecasts: Mapping[str, Doubles]
    scale: Doubles
    spread: Doubles

    @property
    def horizon(self) -> int:
        """Columns forecast at each origin."""
        return self.actual.shape[2]


def origins_of(columns: int, horizon: int, number: int, every: int) -> tuple[int, ...]:
    """The newest origins whose horizon has been observed, oldest first, `every` columns apart."""
    newest = columns - horizon
    return tuple(newest - every * back for back in range(number - 1, -1, -1))


def backtest(
    panel: Panel,
    forecasters: Mapping[str, Callable[[], Forecaster]],
    origins: Sequence[int],
    horizon: int,
    *,
    fits: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> Backtest:
    """Forecasts of every method at every origin.

    A method is fitted `fits` times over the origins, evenly spread, and only on what was known
    then; between fits its parameters stay and its state is that of the origin, as in production.

    Args:
        panel: all columns.
        forecasters: makers of unfitted methods by name.
        origins: numbers of known columns, ascending.
        horizon: columns to forecast.
        fits: from 1 (at the first origin) to the number of origins.
        progress: told what is going on.
    """
    number = len(origins)
    fit_at = {round(step * number / fits) for step in range(min(fits, number))}
    found: dict[str, list[Doubles]] = {name: [] for name in forecasters}
    for name, make in forecasters.items():
        fitted: Forecaster | None = None
        for place, origin in enumerate(origins):
            known = panel.until(origin)
            if fitted is None or place in fit_at:
                fitted = make().fit(known)
            found[name].append(fitted.forecast(known, horizon))
        progress(f"{name}: {number} origins")
    actual = np.stack([panel.y[:, origin : origin + horizon] for origin in origins])
    before = panel.y[:, : origins[0]]
    step = before[:, panel.period :] - before[:, : -panel.period]
    with np.errstate(invalid="ignore"):
        there = np.maximum(np.isfinite(step).sum(axis=1), 1)
        scale = np.nansum(step**2, axis=1) / there
        spread = np.nansum(np.abs(step), axis=1) / there
    stacked = {name: np.stack(each) for name, each in found.items()}
    return Backtest(tuple(origins), actual, stacked, scale, spread)
