"""Chooses the best candidate of each series by its errors at past origins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from batch_predictions.models.demand.data.panel import Doubles, Integers

SHRINKAGE_ORIGINS = 3.0
"""With this number of past origins, the losses of a series count as much as those of all series."""


def forecast_by_champions(
    forecasts: Mapping[str, Doubles], actual: Doubles
) -> tuple[Doubles, Integers]:
    """Forecasts of each series by its best candidate, chosen at each origin from earlier ones only.

    At the first origin nothing is known yet: the first candidate, the baseline, forecasts.

    Args:
        forecasts: by candidate, (origins, n, horizon).
        actual: observed values of the same shape; nan where unknown.

    Returns:
        forecasts: (origins, n, horizon).
        champions: number of the best candidate of each series by all origins, (n,).
    """
    losses = np.stack([_losses(forecast, actual) for forecast in forecasts.values()])
    stacked = np.stack(list(forecasts.values()))
    selected = np.empty_like(actual)
    series = np.arange(actual.shape[1])
    for origin in range(actual.shape[0]):
        champions = _champions(losses[:, :origin])
        selected[origin] = stacked[champions, origin, series]
    return selected, _champions(losses)


def best_overall(
    forecasts: Mapping[str, Doubles], actual: Doubles, candidates: Sequence[str]
) -> str:
    """Returns the candidate with the smallest loss over all origins and series.

    Args:
        forecasts: by candidate, (origins, n, horizon) each.
        actual: observed values, (origins, n, horizon).
        candidates: names to choose from, keys of `forecasts`.
    """
    return min(candidates, key=lambda name: _losses(forecasts[name], actual).sum())


def _losses(forecast: Doubles, actual: Doubles) -> Doubles:
    """Absolute errors of the columns plus the absolute error of their sum, (origins, n)."""
    error = np.nan_to_num(forecast - actual, nan=0.0)
    return np.asarray(np.abs(error).sum(axis=2) + np.abs(error.sum(axis=2)))


def _champions(losses: Doubles) -> Integers:
    """Number of the best candidate of each series, (n,), by losses (candidates, origins, n).

    The losses of a series are shrunk towards those of all series, since the best candidate of a few
    days is often best by chance.
    """
    n_origins, n = losses.shape[1], losses.shape[2]
    if n_origins == 0:
        return np.zeros(n, np.int64)
    by_series, overall = losses.sum(axis=1), losses.sum(axis=(1, 2))
    typical = by_series.mean(axis=0)
    relative_overall = overall / max(overall.mean(), 1e-12)
    weight = SHRINKAGE_ORIGINS / n_origins
    shrunk = by_series + weight * typical * relative_overall[:, None]
    return np.asarray(shrunk.argmin(axis=0))
