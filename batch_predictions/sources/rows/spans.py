"""The days of a source: those of a home's first run, those not over yet, groups read together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """The days of a source, computed on the home's first run and then fixed.

    Attributes:
        first_day: first day of the home.
        last_day: last day of a source with a fixed end, else None.
        default_date: day of rows without a time.
        shift_days: days by which the dates of the source are moved.
    """

    first_day: dt.date
    last_day: dt.date | None
    default_date: dt.date
    shift_days: int = 0


@dataclass(frozen=True)
class LaterRows:
    """Rows of days that are not over yet.

    Attributes:
        rows: how many.
        first: their first day.
        last: their last day.
    """

    rows: int
    first: dt.date
    last: dt.date


def last_sunday_before(today: dt.date) -> dt.date:
    """The default of `source.default_date` on a first run on `today`."""
    return today - dt.timedelta(days=today.weekday() + 1)


def sum_later_rows(counts: Mapping[dt.date, int], last: dt.date) -> LaterRows | None:
    """The rows of partitions after a day; None: there are none.

    Args:
        counts: rows by partition.
        last: the day.
    """
    later = {day: rows for day, rows in counts.items() if day > last}
    return LaterRows(sum(later.values()), min(later), max(later)) if later else None


def group_days(
    days: Sequence[str], counts: Mapping[str, int], rows_per_group: int
) -> list[Sequence[str]]:
    """Groups consecutive days, so that a group has a limited number of rows or one day.

    Args:
        days: ISO dates, oldest first.
        counts: number of rows by day.
        rows_per_group: the largest number of rows of a group of several days.
    """
    groups: list[list[str]] = []
    rows = 0
    for day in days:
        count = counts.get(day, 0)
        if not groups or rows + count > rows_per_group:
            groups.append([])
            rows = 0
        groups[-1].append(day)
        rows += count
    return list(groups)
