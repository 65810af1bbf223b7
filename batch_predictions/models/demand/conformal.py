"""Quantiles from the errors of past origins: conformal, so they cover what they say.

An error is scaled by the root of the forecast, which is how counts scatter. Errors are kept by size
of the forecast, in bins of equal numbers, and by step of the horizon; sums over 1, 2, … days have
errors of their own, since the errors of neighbouring days are related.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from batch_predictions.models.demand.panel import Doubles, Integers

LEVELS = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
"""Quantiles of a day's forecast."""
GRID = np.r_[0.005, np.arange(0.01, 0.995, 0.01), 0.995]
"""Levels that are kept; others lie between them."""
BINS, PER_BIN, NEAR = 10, 150, 3
FILE = "conformal"


@dataclass(frozen=True)
class ConformalCalibration:
    """Errors of past origins as quantiles.

    Attributes:
        edges: sizes that part the bins, by step (horizon, bins - 1).
        errors: scaled errors by step, bin and level of GRID, (horizon, bins, levels).
        sum_edges: the same of sums over 1 to `horizon` columns.
        sum_errors: the same of sums.
    """

    edges: Doubles
    errors: Doubles
    sum_edges: Doubles
    sum_errors: Doubles

    @classmethod
    def of(cls, forecasts: Doubles, actual: Doubles) -> Self:
        """From forecasts and what came, both (origins, n, horizon); nan is left out."""
        gaps = ~np.isfinite(actual)
        edges, errors = _learn(forecasts, actual, NEAR)
        sums, came = forecasts.cumsum(axis=2), np.where(gaps, 0.0, actual).cumsum(axis=2)
        came = np.where(np.maximum.accumulate(gaps, axis=2), np.nan, came)
        return cls(edges, errors, *_learn(sums, came, 0))

    @property
    def horizon(self) -> int:
        """Longest step, and longest sum, that was calibrated."""
        return self.edges.shape[0]

    def quantiles(self, mean: Doubles, levels: Sequence[float] = LEVELS) -> Doubles:
        """Quantiles of each column of forecasts (n, horizon): (n, horizon, levels), ordered."""
        n, horizon = mean.shape
        steps = np.broadcast_to(np.arange(horizon), (n, horizon))
        return self._apply(mean, steps, levels, self.edges, self.errors)

    def sum_quantiles(
        self, mean: Doubles, days: int | Integers, levels: Sequence[float]
    ) -> Doubles:
        """Quantiles of the sum of the first `days` columns, one number or (n,): (n, levels)."""
        lengths = np.broadcast_to(np.asarray(days, np.int64), (len(mean),))
        sums = mean.cumsum(axis=1)[np.arange(len(mean)), lengths - 1]
        found = self._apply(sums, lengths - 1, levels, self.sum_edges, self.sum_errors)
        return found

    def _apply(
        self,
        mean: Doubles,
        steps: Integers,
        levels: Sequence[float],
        edges: Doubles,
        errors: Doubles,
    ) -> Doubles:
        # Beyond what was calibrated the last step's errors are taken.
        steps = np.minimum(steps, self.horizon - 1)
        bins = (mean[..., None] > edges[steps]).sum(axis=-1)
        at = np.interp(levels, GRID, np.arange(len(GRID)))
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, len(GRID) - 1)
        chosen = errors[steps, bins]
        between = chosen[..., low] * (1 - (at - low)) + chosen[..., high] * (at - low)
        found = mean[..., None] + between * _size(mean)[..., None]
        return np.maximum.accumulate(np.maximum(found, 0.0), axis=-1)

    def save(self, folder: Path) -> None:
        """Writes four .npy files and the levels as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("edges", "errors", "sum_edges", "sum_errors"):
            np.save(folder / f"{FILE}_{name}.npy", getattr(self, name), allow_pickle=False)
        levels = [round(float(each), 4) for each in GRID]
        (folder / f"{FILE}.json").write_text(json.dumps({"levels": levels}) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        names = ("edges", "errors", "sum_edges", "sum_errors")
        return cls(*(np.load(folder / f"{FILE}_{name}.npy", allow_pickle=False) for name in names))


def _size(mean: Doubles) -> Doubles:
    """What errors are divided by: counts scatter as their root, tiny forecasts do not vanish."""
    return np.asarray(np.sqrt(np.maximum(mean, 0.0) + 0.05))


def _learn(forecasts: Doubles, actual: Doubles, near: int) -> tuple[Doubles, Doubles]:
    """Edges and errors of every step, each with the steps up to `near` beside it."""
    horizon = forecasts.shape[2]
    edges, errors = [], []
    sizes = [
        np.isfinite(actual[:, :, max(0, s - near) : s + near + 1]).sum() for s in range(horizon)
    ]
    bins = int(np.clip(min(sizes) // PER_BIN, 1, BINS))
    for step in range(horizon):
        span = slice(max(0, step - near), step + near + 1)
        there = np.isfinite(actual[:, :, span])
        mean, came = forecasts[:, :, span][there], actual[:, :, span][there]
        if not len(mean):
            edges.append(np.full(bins - 1, np.inf))
            errors.append(np.zeros((bins, len(GRID))))
            continue
        cuts = np.quantile(mean, np.arange(1, bins) / bins)
        scaled, place = (came - mean) / _size(mean), (mean[:, None] > cuts).sum(axis=1)
        table = []
        for each in range(bins):
            mine = scaled[place == each]
            # Equal forecasts can leave a bin empty: everyone's errors then.
            table.append(_quantiles(mine if len(mine) else scaled))
        edges.append(cuts)
        errors.append(np.stack(table))
    return np.stack(edges), np.stack(errors)


def _quantiles(scores: Doubles) -> Doubles:
    """Quantiles with the correction of a finite sample: a level p is the ceil(p (n + 1))-th."""
    n, ordered = len(scores), np.sort(scores)
    upper = np.minimum(np.ceil(GRID * (n + 1)), n) - 1
    lower = np.maximum(np.floor(GRID * (n + 1)), 1) - 1
    return np.asarray(ordered[np.where(GRID >= 0.5, upper, lower).astype(int)])
