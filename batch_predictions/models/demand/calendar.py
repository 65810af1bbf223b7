"""Days that are unlike their weekday."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from batch_predictions.models.demand.panel import Doubles


def us_holidays(years: Iterable[int]) -> set[dt.date]:
    """New Year, Easter, Memorial, Independence and Labor Day, Thanksgiving, Christmas."""
    found: set[dt.date] = set()
    for year in years:
        found |= {dt.date(year, 1, 1), dt.date(year, 7, 4), dt.date(year, 12, 25)}
        last_of_may = dt.date(year, 5, 31)
        found.add(last_of_may - dt.timedelta(days=last_of_may.weekday()))
        found.add(dt.date(year, 9, 1) + dt.timedelta(days=-dt.date(year, 9, 1).weekday() % 7))
        first = dt.date(year, 11, 1)
        found.add(first + dt.timedelta(days=(3 - first.weekday()) % 7 + 21))
        found.add(easter(year))
    return found


def easter(year: int) -> dt.date:
    """Easter Sunday of the Gregorian calendar (the anonymous algorithm)."""
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * weekday) // 451
    month, day = divmod(h + weekday - 7 * m + 114, 31)
    return dt.date(year, month, day + 1)


def flags(days: npt.NDArray[np.datetime64], holidays: Iterable[dt.date]) -> Doubles:
    """1 on holidays, else 0: `Panel.holidays` from `Panel.days`."""
    wanted = np.array(sorted(holidays), "datetime64[D]")
    return np.isin(days, wanted).astype(float)


def to_next(marks: Doubles, most: int) -> Doubles:
    """Columns until the next mark, 0 on it, at most `most`."""
    found, left = np.empty(len(marks)), float(most)
    for at in range(len(marks) - 1, -1, -1):
        left = 0.0 if marks[at] > 0 else min(left + 1, most)
        found[at] = left
    return found
