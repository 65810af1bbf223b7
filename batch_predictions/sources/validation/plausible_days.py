"""Finds days of a source that are far from its others, such as 2000-01-01 in this year's sales.

One row with a wrong year would otherwise move a home's first day, and make a partition for every
day since. A day is far from the others if more than MAX_GAP_DAYS without a row lie between, and
very few rows are on its side of them.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Protocol

MAX_GAP_DAYS = 180
MAX_SHARE = 0.01
"""Of the rows, so many may be far from the others."""
MAX_ROWS, MAX_SHARE_OF_FEW = 3, 0.1
"""Or so many rows, of a source with few."""


class DayCounts(Protocol):
    """Numbers of rows by day."""

    def span(self, first: dt.date, last: dt.date) -> tuple[dt.date, dt.date] | None:
        """First and last day with rows between two days, both included; None: there is none."""

    def rows(self, first: dt.date, last: dt.date) -> int:
        """Number of rows between two days, both included."""


class CountedDays:
    """Numbers of rows by day, in memory.

    Args:
        counts: rows by day; days without rows are left out.
    """

    def __init__(self, counts: Mapping[dt.date, int]) -> None:
        self._days = sorted(day for day, rows in counts.items() if rows)
        self._before = [0, *accumulate(counts[day] for day in self._days)]

    def span(self, first: dt.date, last: dt.date) -> tuple[dt.date, dt.date] | None:
        """First and last day with rows between two days, both included; None: there is none."""
        start, stop = bisect_left(self._days, first), bisect_right(self._days, last)
        return (self._days[start], self._days[stop - 1]) if start < stop else None

    def rows(self, first: dt.date, last: dt.date) -> int:
        """Number of rows between two days, both included."""
        start, stop = bisect_left(self._days, first), bisect_right(self._days, last)
        return self._before[stop] - self._before[start]


def first_plausible_day(days: DayCounts) -> dt.date | None:
    """The first day that is not far before the others; None: there are no days."""
    span = days.span(dt.date.min, dt.date.max)
    if span is None:
        return None
    first, last = span
    allowed = _allowed_rows(days.rows(first, last))
    plausible = day = first
    while day < last and days.rows(first, day) <= allowed:
        near = days.span(day + dt.timedelta(days=1), _shift(day, MAX_GAP_DAYS))
        if near is not None:
            day = near[1]
            continue
        later = days.span(day + dt.timedelta(days=1), last)
        assert later is not None, "the last day has rows"
        plausible = day = later[0]
    return plausible


def last_plausible_day(counts: Mapping[dt.date, int]) -> dt.date | None:
    """The last day that is not far after the others; None: there are no days."""
    mirrored = {_mirror(day): rows for day, rows in counts.items()}
    first = first_plausible_day(CountedDays(mirrored))
    return None if first is None else _mirror(first)


def _allowed_rows(rows: int) -> int:
    """Number of rows, out of `rows`, that may be far from the others."""
    return max(int(rows * MAX_SHARE), min(int(rows * MAX_SHARE_OF_FEW), MAX_ROWS))


def _mirror(day: dt.date) -> dt.date:
    """The day as far from the end of the calendar as a day is from its beginning."""
    return dt.date.fromordinal(dt.date.max.toordinal() + 1 - day.toordinal())


def _shift(day: dt.date, days: int) -> dt.date:
    return dt.date.fromordinal(min(day.toordinal() + days, dt.date.max.toordinal()))
