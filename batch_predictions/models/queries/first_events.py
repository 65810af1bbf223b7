"""The time to the first event in a window: hazards of intervals, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from batch_predictions.core.arrays import Doubles, Int32s
from batch_predictions.models.queries.linear_estimators import ExampleMatrix

MAX_INTERVALS = 8
QUANTILES = (0.1, 0.5, 0.9)
"""Shares of the entities whose event has come by the days that are predicted."""


def interval_ends(days: int) -> Int32s:
    """Last day of each interval of a window, the earlier ones shorter, (intervals,)."""
    ends = np.geomspace(max(1, days / 20), days, min(MAX_INTERVALS, days))
    return np.unique(np.round(ends)).astype(np.int32)


def expand(examples: ExampleMatrix, ends: Int32s) -> ExampleMatrix:
    """A row for every interval that an entity reached without the event, and whether it came then.

    Args:
        examples: their target is the day of the event, 1 and up; nan where none came.
        ends: last day of each interval.
    """
    reached = np.searchsorted(ends, np.where(np.isnan(examples.target), ends[-1], examples.target))
    rows = np.repeat(np.arange(len(examples)), reached + 1)
    intervals = np.concatenate([np.arange(last + 1) for last in reached] or [np.zeros(0, int)])
    happened = (intervals == reached[rows]) & ~np.isnan(examples.target[rows])
    return ExampleMatrix(
        np.column_stack([examples.features[rows], intervals]),
        happened.astype(np.float64),
    )


def survival(hazard: Callable[[Doubles], Doubles], features: Doubles, n_intervals: int) -> Doubles:
    """Probability that no event has come by the end of each interval, (n, intervals).

    Args:
        hazard: probability of the event in the interval of the matrix's last column, (n,).
        features: (n, features).
        n_intervals: number of intervals.
    """
    columns = []
    for interval in range(n_intervals):
        matrix = np.column_stack([features, np.full(len(features), float(interval))])
        columns.append(1 - hazard(matrix))
    return np.asarray(np.cumprod(np.column_stack(columns), axis=1), np.float64)


def first_event_losses(survived: Doubles, target: Doubles, ends: Int32s) -> Doubles:
    """Minus the log likelihood of each interval of the event, or of none in the window, (n,).

    Args:
        survived: see `survival`, (n, intervals).
        target: day of the event; nan where none came, (n,).
        ends: last day of each interval.
    """
    before = np.column_stack([np.ones(len(survived)), survived])
    probabilities = np.column_stack([before[:, :-1] - before[:, 1:], survived[:, -1]])
    is_censored = np.isnan(target)
    place = np.searchsorted(ends, np.where(is_censored, ends[-1], target))
    place = np.where(is_censored, len(ends), place)
    likelihoods = probabilities[np.arange(len(target)), place]
    return np.asarray(-np.log(np.maximum(likelihoods, 1e-12)), np.float64)


def event_days(survived: Doubles, ends: Int32s) -> Doubles:
    """Days by which QUANTILES of the entities have had the event, (n, quantiles).

    nan where it is later than the window. Within an interval the probability grows evenly.
    """
    grid = np.concatenate([[0], ends]).astype(np.float64)
    happened = np.column_stack([np.zeros(len(survived)), 1 - survived])
    days = np.full((len(survived), len(QUANTILES)), np.nan)
    for number, quantile in enumerate(QUANTILES):
        after = (happened < quantile).sum(axis=1)
        inside = np.flatnonzero(after < len(grid))
        right = after[inside]
        low, high = happened[inside, right - 1], happened[inside, right]
        share = (quantile - low) / np.maximum(high - low, 1e-12)
        days[inside, number] = grid[right - 1] + share * (grid[right] - grid[right - 1])
    return days
