"""Holidays: their dates, flags for a panel's columns, and the distance to the next one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from batch_predictions.models.demand.data.panel import Doubles


def us_holidays(years: Iterable[int]) -> set[dt.date]:
    """New Year, Easter, Memorial, Independence and Labor Day, Thanksgiving, Christmas."""
    holidays: set[dt.date] = set()
    for year in years:
        holidays |= {dt.date(year, 1, 1), dt.date(year, 7, 4), dt.date(year, 12, 25)}
        end_of_may = dt.date(year, 5, 31)
        holidays.add(end_of_may - dt.timedelta(days=end_of_may.weekday()))
        start_of_september = dt.date(year, 9, 1)
        holidays.add(start_of_september + dt.timedelta(days=-start_of_september.weekday() % 7))
        start_of_november = dt.date(year, 11, 1)
        holidays.add(
            start_of_november + dt.timedelta(days=(3 - start_of_november.weekday()) % 7 + 21)
        )
        holidays.add(easter(year))
    return holidays


def easter(year: int) -> dt.date:
    """Easter Sunday of the Gregorian calendar (the anonymous algorithm, Meeus 1991)."""
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * weekday) // 451
    month, day = divmod(h + weekday - 7 * m + 114, 31)
    return dt.date(year, month, day + 1)


def holiday_flags(dates: npt.NDArray[np.datetime64], holidays: Iterable[dt.date]) -> Doubles:
    """1 for dates that are holidays, else 0: `Panel.holidays` from `Panel.original_dates`."""
    return np.isin(dates, np.array(sorted(holidays), "datetime64[D]")).astype(float)


def steps_to_next(flags: Doubles, limit: int) -> Doubles:
    """Columns until the next positive flag, 0 on the flag itself, at most `limit`."""
    steps, distance = np.empty(len(flags)), float(limit)
    for column in range(len(flags) - 1, -1, -1):
        distance = 0.0 if flags[column] > 0 else min(distance + 1, limit)
        steps[column] = distance
    return steps
