"""Features of the global models: one row for each series, origin and step of the horizon.

A feature is computed from the values of the series up to the origin, or from what is known in
advance for the target column. So the features of a series do not depend on the other series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Floats, Int64s
from batch_predictions.models.demand.data.panel import Panel

Feature: TypeAlias = tuple[str, npt.NDArray[np.float64]]
"""A name, and values that broadcast to (n, origins, horizon)."""

MEAN_SEASONS = (1, 2, 4, 8, 13, 26)
"""Windows of the rolling means, in seasons."""
LEVEL_SEASONS = 4
"""Window of the level, in seasons; the other means are ratios to the level."""
PHASE_VALUES = (2, 4, 8, 16)
"""How many values of the target's phase each mean of the same phase takes."""
LIFT_SEASONS = 26
"""Window of the lift of a covariate, in seasons."""
UNPROMOTED_SEASONS = 8
"""Window of the level without a covariate, in seasons."""
LOG_OFFSET = 0.1
"""Added to means before their logarithm is taken."""
MAX_HOLIDAY_STEPS = 5
"""Distances to a holiday are capped at this number of columns."""
MONTH_DAYS = 31.0


@dataclass(frozen=True)
class FeatureMatrix:
    """Features and targets of several origins.

    Attributes:
        features: (n, origins, horizon, features).
        names: names of the features.
        level: mean of the series over the last four seasons before the origin, plus `LOG_OFFSET`,
            (n, origins).
        targets: observed values, (n, origins, horizon); nan where they are not known.
    """

    features: Floats
    names: tuple[str, ...]
    level: Doubles
    targets: Doubles


def build_features(panel: Panel, origins: Sequence[int], horizon: int) -> FeatureMatrix:
    """Features of every series for steps 1 to `horizon` after each origin.

    Args:
        panel: the series.
        origins: numbers of columns that are known, at least one.
        horizon: number of steps.
    """
    extra_columns = max(max(origins) + horizon - panel.n_columns, 0)
    origin_columns = np.asarray(origins, np.int64)
    target_columns = origin_columns[:, None] + np.arange(horizon)
    means = {seasons: rolling_mean(panel.y, seasons * panel.period) for seasons in MEAN_SEASONS}
    level = means[LEVEL_SEASONS][:, origin_columns] + LOG_OFFSET
    columns = [
        *_history_features(panel, means, level, origin_columns),
        *_same_phase_features(panel, level, origin_columns, horizon),
        *_covariate_features(panel, origin_columns, target_columns, extra_columns),
        *_static_features(panel),
        *_calendar_features(panel, target_columns, extra_columns),
    ]
    features = np.empty((len(panel), len(origin_columns), horizon, len(columns)), np.float32)
    for number, (_, values) in enumerate(columns):
        features[..., number] = values
    y = np.pad(panel.y, ((0, 0), (0, extra_columns)), constant_values=np.nan)
    names = tuple(name for name, _ in columns)
    return FeatureMatrix(features, names, level, y[:, target_columns])


def _history_features(
    panel: Panel, means: dict[int, Doubles], level: Doubles, origin_columns: Int64s
) -> Iterator[Feature]:
    """Level, ratios of other means to it, share of columns with sales, columns since a sale."""
    yield "level", np.log(level)[:, :, None]
    for seasons in MEAN_SEASONS:
        if seasons != LEVEL_SEASONS:
            ratio = (means[seasons][:, origin_columns] + LOG_OFFSET) / level
            yield f"mean_{seasons}", np.log(ratio)[:, :, None]
    has_sale = np.where(np.isfinite(panel.y), (panel.y > 0).astype(float), np.nan)
    share = rolling_mean(has_sale, LEVEL_SEASONS * panel.period)
    yield "share_sold", share[:, origin_columns, None]
    yield "since_sold", np.log1p(_columns_since_sale(panel.y))[:, origin_columns, None]


def _same_phase_features(
    panel: Panel, level: Doubles, origin_columns: Int64s, horizon: int
) -> Iterator[Feature]:
    """Means of the last values of the target's phase, as ratios to the level."""
    for count in PHASE_VALUES:
        mean = _same_phase_mean(panel, count, origin_columns, horizon)
        yield f"phase_{count}", np.log((mean + LOG_OFFSET) / level[:, :, None])


def _covariate_features(
    panel: Panel, origin_columns: Int64s, target_columns: Int64s, extra_columns: int
) -> Iterator[Feature]:
    """Each covariate in the target column, and what it did to the series before the origin."""
    for name in sorted(panel.future_covariates):
        values = np.nan_to_num(panel.covariate(name, extra_columns), nan=0.0)
        yield name, values[:, target_columns]
        past = values[:, : panel.n_columns]
        for suffix, effect in _covariate_effects(panel.y, past, panel.period):
            yield f"{name}_{suffix}", effect[:, origin_columns, None]


def _static_features(panel: Panel) -> Iterator[Feature]:
    for name in sorted(panel.static_features):
        yield name, panel.static_features[name].astype(float)[:, None, None]


def _calendar_features(
    panel: Panel, target_columns: Int64s, extra_columns: int
) -> Iterator[Feature]:
    """Phase, step of the horizon, distances to holidays, day of the month."""
    yield "phase", panel.phases(extra_columns)[target_columns].astype(float)[None]
    yield "step", np.arange(1.0, target_columns.shape[1] + 1)[None, None]
    if panel.holidays is not None:
        flags = panel.holiday_flags(extra_columns)
        steps_after = steps_to_next(flags[::-1], MAX_HOLIDAY_STEPS)[::-1]
        yield "to_holiday", steps_to_next(flags, MAX_HOLIDAY_STEPS)[target_columns][None]
        yield "from_holiday", steps_after[target_columns][None]
    if panel.has_dates:
        dates = panel.original_dates(extra_columns)
        day_of_month = (dates - dates.astype("datetime64[M]")).astype(float)
        yield "day_of_month", day_of_month[target_columns][None] / MONTH_DAYS


def rolling_mean(values: Doubles, window: int) -> Doubles:
    """Mean of up to `window` values before each column, (n, t + 1).

    Values that are not finite are left out; the mean is 0 where none is left. The last column is
    the mean of the newest values.
    """
    is_finite = np.isfinite(values)
    sums = _running_totals(np.where(is_finite, values, 0.0))
    counts = _running_totals(is_finite.astype(float))
    return _window_ratio(sums, counts, window)


def _running_totals(values: Doubles) -> Doubles:
    """Sums of the columns before each column, (n, t + 1)."""
    return np.pad(values.cumsum(axis=1), ((0, 0), (1, 0)))


def _window_total(totals: Doubles, window: int) -> Doubles:
    """Sums of the last `window` columns before each column, from running totals."""
    window_starts = np.maximum(np.arange(totals.shape[1]) - window, 0)
    return totals - totals[:, window_starts]


def _window_ratio(sums: Doubles, counts: Doubles, window: int) -> Doubles:
    """Sum over count of the last `window` columns, from running totals; 0 where the count is 0."""
    total, count = _window_total(sums, window), _window_total(counts, window)
    return np.divide(total, count, out=np.zeros_like(total), where=count > 1e-9)


def _columns_since_sale(y: Doubles) -> Doubles:
    """Columns since the last sale before each column, (n, t + 1)."""
    columns = np.arange(y.shape[1])
    last_sale = np.maximum.accumulate(np.where(np.nan_to_num(y) > 0, columns, -1), axis=1)
    last_sale = np.pad(last_sale, ((0, 0), (1, 0)), constant_values=-1)
    return np.asarray(np.arange(y.shape[1] + 1) - last_sale - 1.0)


def _same_phase_mean(panel: Panel, count: int, origin_columns: Int64s, horizon: int) -> Doubles:
    """Mean of the last `count` values of the target's phase, (n, origins, horizon)."""
    period, (n, t) = panel.period, panel.y.shape
    padding = -t % period
    # One row for each series and phase; its columns are a season apart.
    y = np.pad(panel.y, ((0, 0), (padding, 0)), constant_values=np.nan)
    seasons = y.reshape(n, -1, period).transpose(0, 2, 1)
    means = rolling_mean(seasons.reshape(n * period, -1), count).reshape(n, period, -1)
    steps = np.arange(horizon)
    newest = origin_columns[:, None] + steps - period * (steps // period + 1) + padding
    # An origin in the first season has no earlier column of the phase: the panel's first column
    # is taken.
    newest = np.maximum(newest, 0)
    return np.asarray(means[:, newest % period, newest // period + 1])


def _covariate_effects(y: Doubles, covariate: Doubles, period: int) -> Iterator[Feature]:
    """Computes how a series reacted to a covariate between 0 and 1, such as a promotion.

    Yields:
        lately: mean of the covariate over the last four seasons.
        lift: logarithm of the mean while the covariate is on, relative to the overall mean;
            shrunk to 0 as by one season of average columns.
        without: logarithm of the mean while the covariate is off, relative to the level.
    """
    is_finite = np.isfinite(y)
    observed = np.where(is_finite, y, 0.0)
    weight = np.where(is_finite, covariate, 0.0)
    window = LIFT_SEASONS * period
    overall = rolling_mean(y, window) + LOG_OFFSET
    total_on = _window_total(_running_totals(observed * weight), window)
    columns_on = _window_total(_running_totals(weight), window)
    mean_on = (total_on + period * overall) / (columns_on + period)
    mean_off = _window_ratio(
        _running_totals(observed * (1 - weight)),
        _running_totals(is_finite - weight),
        UNPROMOTED_SEASONS * period,
    )
    level = rolling_mean(y, LEVEL_SEASONS * period) + LOG_OFFSET
    observed_covariate = np.where(is_finite, covariate, np.nan)
    yield "lately", rolling_mean(observed_covariate, LEVEL_SEASONS * period)
    yield "lift", np.log(mean_on / overall)
    yield "without", np.log((mean_off + LOG_OFFSET) / level)


def steps_to_next(flags: Doubles, limit: int) -> Doubles:
    """Columns until the next positive flag, 0 on the flag itself, at most `limit`."""
    steps, distance = np.empty(len(flags)), float(limit)
    for column in range(len(flags) - 1, -1, -1):
        distance = 0.0 if flags[column] > 0 else min(distance + 1, limit)
        steps[column] = distance
    return steps
