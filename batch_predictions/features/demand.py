"""Series of demand: what their query binds, and the holidays that move them.

`features/demand.sql` makes one row per series and day with the whole history as lists, so that
training and daily forecasts see the same numbers, each as they were known on its day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from batch_predictions.features.queries import parameters as usual
from batch_predictions.home import read_state
from batch_predictions.settings import Settings
from batch_predictions.sources import registry
from batch_predictions.tables import PROMOTION_CALENDAR
from batch_predictions.warehouse import Warehouse


def parameters(warehouse: Warehouse, settings: Settings) -> dict[str, Any]:
    """What the query binds besides `$date`; a week that was never read is not known."""
    chosen = settings.demand
    return {
        **usual(settings),
        "levels": list(chosen.levels),
        "max_series": chosen.max_series,
        "horizon": chosen.horizon,
        "history_days": chosen.history_days,
        "event_types": list(chosen.event_types),
        "outlier_factor": chosen.outlier_factor,
        "known_weeks": warehouse.partitions(PROMOTION_CALENDAR),
    }


def holidays(settings: Settings, first: dt.date, last: dt.date) -> list[dt.date]:
    """Holidays from first to last, both on the calendar of this home.

    Where a calendar is replayed, those of the original dates, moved like everything else. Days of
    the setting are dates of this home.
    """
    state = read_state(settings.home)
    shift = dt.timedelta(days=state.shift_days if state else 0)
    country = registry.source_of(settings.source, state).holidays
    known: set[dt.date] = set(settings.demand.holidays)
    if country == "us":
        years = range((first - shift).year, (last - shift).year + 1)
        known |= {day + shift for year in years for day in us_holidays(year)}
    return sorted(day for day in known if first <= day <= last)


def us_holidays(year: int) -> Iterable[dt.date]:
    """Days of a year on which the United States shop or stay at home unlike on others."""

    def nth(month: int, weekday: int, n: int) -> dt.date:
        """The nth weekday of a month; -1 is the last."""
        if n > 0:
            first = dt.date(year, month, 1)
            return first + dt.timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))
        last = dt.date(year, month + 1, 1) - dt.timedelta(days=1)
        return last - dt.timedelta(days=(last.weekday() - weekday) % 7)

    thanksgiving = nth(11, 3, 4)
    return (
        dt.date(year, 1, 1),
        easter(year),
        nth(5, 0, -1),  # Memorial Day
        dt.date(year, 7, 4),
        nth(9, 0, 1),  # Labor Day
        thanksgiving - dt.timedelta(days=1),
        thanksgiving,
        dt.date(year, 12, 24),
        dt.date(year, 12, 25),
        dt.date(year, 12, 31),
    )


def easter(year: int) -> dt.date:
    """Easter Sunday (Meeus, Jones and Butcher's rule of the Gregorian calendar)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    weekday = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 19 * weekday) // 433
    month = (h + weekday - 7 * m + 90) // 25
    return dt.date(year, month, (h + weekday - 7 * m + 33 * month + 19) % 32)
