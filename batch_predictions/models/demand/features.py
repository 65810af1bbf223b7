"""What the global models see: one row for a series, an origin and a step of the horizon.

Every figure of a series is of that series alone, up to the origin, or known ahead of the target;
so the rows of a series do not depend on the series beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from batch_predictions.models.demand.calendar import to_next
from batch_predictions.models.demand.panel import Doubles, Integers, Panel

Floats = npt.NDArray[np.float32]
SEASONS = (1, 2, 4, 8, 13, 26)
"""Lengths of rolling means, in seasons."""
LEVEL = 4
"""Seasons of the mean that everything else is a share of."""
SAME_PHASE = (2, 4, 8, 16)
"""Numbers of values of the target's own phase."""
SMALL = 0.1
"""Added to means before logarithms."""
NEAR_HOLIDAY = 5
MONTH_DAYS = 31.0


@dataclass(frozen=True)
class FeatureMatrix:
    """Rows of several origins.

    Attributes:
        features: (n, origins, horizon, features).
        names: of the features.
        level: recent mean of the series at the origin, (n, origins), plus a little.
        targets: what came, (n, origins, horizon); nan where it is not known.
    """

    features: Floats
    names: tuple[str, ...]
    level: Doubles
    targets: Doubles


def build_features(panel: Panel, origins: Sequence[int], horizon: int) -> FeatureMatrix:
    """Rows of every series at origins (numbers of known columns), for steps 1 to `horizon`."""
    width = max(max(origins) + horizon - panel.columns, 0)
    at = np.asarray(origins, np.int64)
    ahead = at[:, None] + np.arange(horizon)
    shape = (len(panel), len(at), horizon)
    y = np.pad(panel.y, ((0, 0), (0, width)), constant_values=np.nan)
    means = {k: rolling_mean(panel.y, k * panel.period) for k in SEASONS}
    level = means[LEVEL][:, at] + SMALL
    names: list[str] = []
    parts: list[Doubles] = []

    def add(name: str, values: Doubles) -> None:
        names.append(name)
        parts.append(np.broadcast_to(values, shape))

    def of_origin(name: str, values: Doubles) -> None:
        add(name, values[:, :, None])

    of_origin("level", np.log(level))
    for k in SEASONS:
        if k != LEVEL:
            of_origin(f"mean_{k}", np.log((means[k][:, at] + SMALL) / level))
    sold = np.where(np.isfinite(panel.y), (panel.y > 0).astype(float), np.nan)
    of_origin("share_sold", rolling_mean(sold, LEVEL * panel.period)[:, at])
    of_origin("since_sold", np.log1p(_since(panel.y))[:, at])
    for k in SAME_PHASE:
        same = _same_phase(panel, k, at, horizon)
        add(f"phase_{k}", np.log((same + SMALL) / level[:, :, None]))
    for name in sorted(panel.future_covariates):
        values = np.nan_to_num(panel.known(name, width), nan=0.0)
        add(name, values[:, ahead])
        for key, of in _under(panel.y, values[:, : panel.columns], panel.period).items():
            of_origin(f"{name}_{key}", of[:, at])
    for name in sorted(panel.static):
        add(name, panel.static[name].astype(float)[:, None, None])
    add("phase", panel.phases(width)[ahead].astype(float)[None])
    add("step", np.arange(1.0, horizon + 1)[None, None])
    flags = panel.flags(width)
    if panel.holidays is not None:
        add("to_holiday", to_next(flags, NEAR_HOLIDAY)[ahead][None])
        add("from_holiday", to_next(flags[::-1], NEAR_HOLIDAY)[::-1][ahead][None])
    if panel.dated:
        days = panel.days(width)
        of_month = (days - days.astype("datetime64[M]")).astype(float)
        add("day_of_month", of_month[ahead][None] / MONTH_DAYS)
    stacked = np.empty((*shape, len(parts)), np.float32)
    for place, part in enumerate(parts):
        stacked[..., place] = part
    return FeatureMatrix(stacked, tuple(names), level, y[:, ahead])


def rolling_mean(values: Doubles, window: int) -> Doubles:
    """Mean of up to `window` values before each column, gaps left out: (n, t + 1); 0 where none."""
    there = np.isfinite(values)
    sums = _cumulated(np.where(there, values, 0.0))
    counts = _cumulated(there.astype(float))
    return _over(sums, counts, window)


def _over(sums: Doubles, counts: Doubles, window: int) -> Doubles:
    """Quotient of two running totals over a window that ends at each column."""
    start = np.maximum(np.arange(sums.shape[1]) - window, 0)
    total, number = sums - sums[:, start], counts - counts[:, start]
    return np.divide(total, number, out=np.zeros_like(total), where=number > 1e-9)


def _cumulated(values: Doubles) -> Doubles:
    return np.pad(values.cumsum(axis=1), ((0, 0), (1, 0)))


def _since(y: Doubles) -> Doubles:
    """Columns since the last sale before each column, (n, t + 1)."""
    columns = np.arange(y.shape[1])
    last = np.maximum.accumulate(np.where(np.nan_to_num(y) > 0, columns, -1), axis=1)
    last = np.pad(last, ((0, 0), (1, 0)), constant_values=-1)
    return np.asarray(np.arange(y.shape[1] + 1) - last - 1.0)


def _same_phase(panel: Panel, number: int, origins: Integers, horizon: int) -> Doubles:
    """Mean of the last values of the target's phase, (n, origins, horizon)."""
    period, (n, t) = panel.period, panel.y.shape
    pad = -t % period
    # One row per phase: columns of it are seasons apart.
    y = np.pad(panel.y, ((0, 0), (pad, 0)), constant_values=np.nan)
    seasons = y.reshape(n, -1, period).transpose(0, 2, 1)
    means = rolling_mean(seasons.reshape(n * period, -1), number).reshape(n, period, -1)
    steps = np.arange(horizon)
    newest = origins[:, None] + steps - period * (steps // period + 1) + pad
    # The first season or two of a panel: what there is of them.
    newest = np.maximum(newest, 0)
    return np.asarray(means[:, newest % period, newest // period + 1])


def _under(y: Doubles, known: Doubles, period: int) -> dict[str, Doubles]:
    """How a series does under a promotion: mean strength lately, lift, and level without it."""
    there = np.isfinite(y)
    filled, weight = np.where(there, y, 0.0), np.where(there, known, 0.0)
    window = 26 * period
    overall = rolling_mean(y, window) + SMALL
    with_, number = _cumulated(filled * weight), _cumulated(weight)
    start = np.maximum(np.arange(y.shape[1] + 1) - window, 0)
    total, seen = with_ - with_[:, start], number - number[:, start]
    # Drawn to no lift by a season's worth of days.
    lift = np.log((total + period * overall) / (seen + period) / overall)
    rest = _over(_cumulated(filled * (1 - weight)), _cumulated(there - weight), 8 * period)
    return {
        "lately": rolling_mean(np.where(there, known, np.nan), LEVEL * period),
        "lift": lift,
        "without": np.log((rest + SMALL) / (rolling_mean(y, LEVEL * period) + SMALL)),
    }
