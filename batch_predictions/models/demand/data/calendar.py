"""Holidays: their dates, flags for a panel's columns, and the distance to the next one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles

US_SHOP_HOLIDAYS = (
    "New Year's Day",
    "Memorial Day",
    "Independence Day",
    "Labor Day",
    "Thanksgiving Day",
    "Christmas Day",
)
"""With Easter, the days on which shops in the United States close, or sell much more or less."""


def country_holidays(code: str, years: Iterable[int]) -> set[dt.date]:
    """Public holidays of a country; of the United States as a whole, those that shops keep.

    Args:
        code: an ISO 3166 code of a country, such as DE, or of a part of it, such as DE-BY.
        years: calendar years.

    Raises:
        NotImplementedError: the package `holidays` does not know the code.
    """
    import holidays
    from dateutil.easter import easter

    country, _, part = code.upper().partition("-")
    if country != "US" or part:
        return set(holidays.country_holidays(country, subdiv=part or None, years=years))
    federal = holidays.country_holidays(country, years=years, observed=False, language="en_US")
    dates = {date for name in US_SHOP_HOLIDAYS for date in federal.get_named(name, "exact")}
    return dates | {easter(year) for year in years}


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
