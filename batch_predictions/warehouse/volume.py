"""Whether a day's partition has about as many rows as the same weekdays before it."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from statistics import median

import pyarrow.parquet as pq

from batch_predictions.tables import Table
from batch_predictions.warehouse.warehouse import Warehouse

WEEKS, MIN_WEEKS = 8, 4
"""Same weekdays that are compared, at most and at least."""
MIN_FACTOR = 2.0
"""A day is never unusual within this factor of the median."""
SPREADS = 4.0
"""Robust standard deviations of the logarithm beyond which a day is unusual."""
MIN_ROWS = 20
"""With a median of fewer rows, chance alone makes days differ."""


@dataclass(frozen=True)
class Volume:
    """Rows of a day beside those that are usual.

    Attributes:
        rows: of the day.
        median: of the same weekdays before it.
        lower: rows below which the day is unusual.
        upper: rows above which it is.
        weeks: how many weekdays were compared.
    """

    rows: int
    median: float
    lower: float
    upper: float
    weeks: int

    @property
    def is_usual(self) -> bool:
        """Whether the day is within the bounds."""
        return self.lower <= self.rows <= self.upper

    def __str__(self) -> str:
        return (
            f"{self.rows:,} rows; {self.lower:,.0f} to {self.upper:,.0f} are usual, by the same "
            f"weekday of {self.weeks} weeks before"
        )


def read_volume(warehouse: Warehouse, table: Table, day: dt.date) -> Volume | None:
    """The volume of a daily table's partition, from the files' footers.

    The bounds are the median times and over a factor: 2, or more where these weekdays differ more.

    Returns:
        None if the partition is missing, or fewer than four of the weekdays have rows, or few.
    """
    rows = _rows(warehouse, table, day)
    before = [_rows(warehouse, table, day - dt.timedelta(days=7 * n)) for n in range(1, WEEKS + 1)]
    known = [count for count in before if count]
    if rows is None or len(known) < MIN_WEEKS or median(known) < MIN_ROWS:
        return None
    usual = median(known)
    distances = [abs(math.log(count / usual)) for count in known]
    # 1.4826 times the median distance is the standard deviation of a normal distribution.
    factor = max(MIN_FACTOR, math.exp(SPREADS * 1.4826 * median(distances)))
    return Volume(rows, usual, usual / factor, usual * factor, len(known))


def _rows(warehouse: Warehouse, table: Table, day: dt.date) -> int | None:
    path = warehouse.path(table, day.isoformat())
    try:
        return int(pq.read_metadata(path).num_rows)
    except FileNotFoundError:
        return None
