"""Quantiles of forecasts, calibrated on the errors at past origins (conformal prediction).

An error is divided by the square root of its forecast, since counts scatter in proportion to it.
Scaled errors are collected for each step of the horizon, in bins of the forecast's size with equal
numbers of errors. Sums over 1, 2, … columns are calibrated separately, since the errors of
neighbouring columns are correlated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from batch_predictions.core.arrays import Doubles, Int64s

QUANTILE_LEVELS = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
"""Levels of the quantiles of a day's forecast."""
STORED_LEVELS = np.r_[0.005, np.arange(0.01, 0.995, 0.01), 0.995]
"""Levels at which quantiles of the errors are stored; other levels are interpolated."""
MAX_BINS = 10
MIN_ERRORS_PER_BIN = 150
NEIGHBOUR_STEPS = 3
"""Errors of this many steps before and after a step count as errors of the step."""
MIN_SCALE = 0.05
"""Added to a forecast before its square root is taken, so that scaled errors stay finite."""
FILE_PREFIX = "conformal"
ARRAYS = ("edges", "errors", "sum_edges", "sum_errors")


@dataclass(frozen=True)
class ConformalCalibration:
    """Quantiles of scaled errors at past origins.

    Attributes:
        edges: forecasts that separate the bins of each step, (horizon, bins - 1).
        errors: quantiles of the scaled errors by step, bin and stored level, (horizon, bins,
            levels).
        sum_edges: like `edges`, for sums over 1 to `horizon` columns.
        sum_errors: like `errors`, for these sums.
    """

    edges: Doubles
    errors: Doubles
    sum_edges: Doubles
    sum_errors: Doubles

    @classmethod
    def fit(cls, forecasts: Doubles, actual: Doubles) -> Self:
        """Calibrates on forecasts and observed values, (origins, n, horizon) each.

        Values that are nan are left out, and sums that contain one.
        """
        is_missing = ~np.isfinite(actual)
        edges, errors = _fit_bins(forecasts, actual, NEIGHBOUR_STEPS)
        actual_sums = np.where(is_missing, 0.0, actual).cumsum(axis=2)
        actual_sums = np.where(np.maximum.accumulate(is_missing, axis=2), np.nan, actual_sums)
        sum_edges, sum_errors = _fit_bins(forecasts.cumsum(axis=2), actual_sums, 0)
        return cls(edges, errors, sum_edges, sum_errors)

    @property
    def horizon(self) -> int:
        """Longest step, and longest sum, that was calibrated."""
        return self.edges.shape[0]

    def quantiles(self, mean: Doubles, levels: Sequence[float] = QUANTILE_LEVELS) -> Doubles:
        """Quantiles of each column of forecasts (n, horizon): (n, horizon, levels), ordered."""
        steps = np.broadcast_to(np.arange(mean.shape[1]), mean.shape)
        return self._add_errors(mean, steps, levels, self.edges, self.errors)

    def sum_quantiles(self, mean: Doubles, days: int | Int64s, levels: Sequence[float]) -> Doubles:
        """Quantiles of sums over the first `days` columns of forecasts, (n, levels).

        Args:
            mean: forecasts, (n, horizon).
            days: columns of each sum, 1 to `horizon`; one number for all series, or (n,).
            levels: of the quantiles, between 0 and 1.
        """
        lengths = np.broadcast_to(np.asarray(days, np.int64), (len(mean),))
        sums = mean.cumsum(axis=1)[np.arange(len(mean)), lengths - 1]
        return self._add_errors(sums, lengths - 1, levels, self.sum_edges, self.sum_errors)

    def _add_errors(
        self,
        mean: Doubles,
        steps: Int64s,
        levels: Sequence[float],
        edges: Doubles,
        errors: Doubles,
    ) -> Doubles:
        """Adds the quantiles of their errors to forecasts, (*mean.shape, levels)."""
        # Steps beyond the calibrated horizon take the errors of its last step.
        steps = np.minimum(steps, self.horizon - 1)
        bins = (mean[..., None] > edges[steps]).sum(axis=-1)
        positions = np.interp(levels, STORED_LEVELS, np.arange(len(STORED_LEVELS)))
        low = np.floor(positions).astype(int)
        high = np.minimum(low + 1, len(STORED_LEVELS) - 1)
        stored = errors[steps, bins]
        fraction = positions - low
        scaled = stored[..., low] * (1 - fraction) + stored[..., high] * fraction
        quantiles = mean[..., None] + scaled * _error_scale(mean)[..., None]
        return np.maximum.accumulate(np.maximum(quantiles, 0.0), axis=-1)

    def save(self, folder: Path) -> None:
        """Writes four .npy files and the stored levels as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ARRAYS:
            np.save(folder / f"{FILE_PREFIX}_{name}.npy", getattr(self, name), allow_pickle=False)
        levels = [round(float(level), 4) for level in STORED_LEVELS]
        (folder / f"{FILE_PREFIX}.json").write_text(json.dumps({"levels": levels}) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        return cls(
            *(np.load(folder / f"{FILE_PREFIX}_{name}.npy", allow_pickle=False) for name in ARRAYS)
        )


def _error_scale(mean: Doubles) -> Doubles:
    """Scale that errors are divided by: about the standard deviation of counts of these means."""
    return np.asarray(np.sqrt(np.maximum(mean, 0.0) + MIN_SCALE))


def _fit_bins(forecasts: Doubles, actual: Doubles, neighbours: int) -> tuple[Doubles, Doubles]:
    """Edges and error quantiles of each step, from the errors of up to `neighbours` steps around.

    Returns:
        edges: (horizon, bins - 1).
        errors: (horizon, bins, levels).
    """
    horizon = forecasts.shape[2]
    spans = [slice(max(0, step - neighbours), step + neighbours + 1) for step in range(horizon)]
    counts = [np.isfinite(actual[:, :, span]).sum() for span in spans]
    n_bins = int(np.clip(min(counts) // MIN_ERRORS_PER_BIN, 1, MAX_BINS))
    edges, errors = [], []
    for span in spans:
        is_known = np.isfinite(actual[:, :, span])
        mean, observed = forecasts[:, :, span][is_known], actual[:, :, span][is_known]
        if not len(mean):
            edges.append(np.full(n_bins - 1, np.inf))
            errors.append(np.zeros((n_bins, len(STORED_LEVELS))))
            continue
        cuts = np.quantile(mean, np.arange(1, n_bins) / n_bins)
        scaled, bins = (observed - mean) / _error_scale(mean), (mean[:, None] > cuts).sum(axis=1)
        # Many equal forecasts can leave a bin empty; it takes the errors of all bins.
        errors_by_bin = [scaled[bins == number] for number in range(n_bins)]
        edges.append(cuts)
        errors.append(
            np.stack([_error_quantiles(part if len(part) else scaled) for part in errors_by_bin])
        )
    return np.stack(edges), np.stack(errors)


def _error_quantiles(errors: Doubles) -> Doubles:
    """Quantiles at the stored levels with the finite-sample correction of conformal prediction.

    Level p is the ceil(p (n + 1))-th smallest error, and below the median the floor(p (n + 1))-th.
    """
    n, ordered = len(errors), np.sort(errors)
    upper = np.minimum(np.ceil(STORED_LEVELS * (n + 1)), n) - 1
    lower = np.maximum(np.floor(STORED_LEVELS * (n + 1)), 1) - 1
    return np.asarray(ordered[np.where(STORED_LEVELS >= 0.5, upper, lower).astype(int)])
