"""Geometry of a fan chart: a forecast's median between bands of its quantiles, for inline SVG."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

WIDTH, HEIGHT = 720, 280
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 30
BANDS = (("q05", "q95", "90%"), ("q10", "q90", "80%"), ("q25", "q75", "50%"))
"""Quantiles of the bands and their probability, the widest first."""
MEDIAN = "q50"
MAX_DAY_LABELS = 8
MAX_TICKS = 5


class Band(NamedTuple):
    """A band: its probability in words, and the corners of its polygon."""

    label: str
    points: str


class Tick(NamedTuple):
    """A label of an axis, and its position along the axis."""

    position: float
    label: str


@dataclass(frozen=True)
class FanChart:
    """The polygons, line and labels of a fan chart, in units of the SVG view box.

    Attributes:
        bands: the widest first.
        median: points of the line.
        value_ticks: labels of units, by y.
        day_ticks: labels of days, by x.
        summary: the chart in a sentence.
    """

    bands: list[Band]
    median: str
    value_ticks: list[Tick]
    day_ticks: list[Tick]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def fan_chart(rows: Sequence[Mapping[str, Any]]) -> FanChart | None:
    """Computes the fan chart of a forecast.

    Args:
        rows: one per day, by day, with target_date and the quantiles of `BANDS` and `MEDIAN`, in
            units; rows without a quantile are left out.

    Returns:
        The chart; None if no row has all quantiles.
    """
    names = [MEDIAN, *(name for low, high, _ in BANDS for name in (low, high))]
    rows = [row for row in rows if all(row.get(name) is not None for name in names)]
    if not rows:
        return None
    # A single day gets the width of two.
    drawn = rows if len(rows) > 1 else [*rows, *rows]
    lowest = min(0.0, *(row["q05"] for row in rows))
    ticks = _ticks(lowest, max(row["q95"] for row in rows))
    low, high = ticks[0], ticks[-1]
    xs = [LEFT + (WIDTH - LEFT - RIGHT) * n / (len(drawn) - 1) for n in range(len(drawn))]

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low))

    def points(name: str) -> list[str]:
        return [f"{x:.1f},{y(row[name]):.1f}" for x, row in zip(xs, drawn, strict=True)]

    return FanChart(
        bands=[
            Band(label, " ".join([*points(upper), *reversed(points(lower))]))
            for lower, upper, label in BANDS
        ],
        median=" ".join(points(MEDIAN)),
        value_ticks=[Tick(round(y(value), 1), f"{value:g}") for value in ticks],
        day_ticks=_day_ticks(xs, [row["target_date"] for row in rows]),
        summary=_summary(rows),
    )


def _ticks(lowest: float, highest: float) -> list[float]:
    """Round values from the lowest or below to the highest or above, at most a few."""
    span = max(highest - lowest, 1e-9)
    power: float = 10 ** math.floor(math.log10(span / MAX_TICKS))
    steps = (power * factor for factor in (1, 2, 2.5, 5, 10, 20))
    step = next(s for s in steps if span / s <= MAX_TICKS)
    first, last = math.floor(lowest / step), math.ceil(highest / step)
    return [float(f"{n * step:.6g}") for n in range(first, max(last, first + 1) + 1)]


def _day_ticks(xs: Sequence[float], days: Sequence[dt.date]) -> list[Tick]:
    every = math.ceil(len(days) / MAX_DAY_LABELS)
    return [
        Tick(round(xs[n], 1), f"{days[n].day} {days[n]:%b}") for n in range(0, len(days), every)
    ]


def _summary(rows: Sequence[Mapping[str, Any]]) -> str:
    first, last = rows[0]["target_date"], rows[-1]["target_date"]
    highest = max(rows, key=lambda row: row[MEDIAN])
    return (
        f"Expected units per day from {first} to {last}. The median is highest on "
        f"{highest['target_date']}, with {highest[MEDIAN]:.1f} units; that day's 90% band goes "
        f"from {highest['q05']:.1f} to {highest['q95']:.1f}."
    )
