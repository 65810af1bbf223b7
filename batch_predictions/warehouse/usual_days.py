"""Compares a day of a table with the same weekdays before it: rows, empty values, ranges.

What is usual is learnt from the footers of the partitions' files, so that no row is read.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from batch_predictions.settings.operations_settings import ChecksSettings
from batch_predictions.tables import Table
from batch_predictions.warehouse.partition_profiles import (
    ColumnProfile,
    PartitionProfile,
    read_profile,
)
from batch_predictions.warehouse.warehouse import Warehouse

MIN_WEEKS = 4
"""Same weekdays that must have rows."""
SPREADS = 4.0
"""Robust standard deviations beyond which a value is unusual."""
MIN_ROWS = 20
"""With a median of fewer rows, chance alone makes days differ."""


@dataclass(frozen=True)
class DayComparison:
    """The rows of a day compared with those of the same weekdays before it.

    Attributes:
        rows: of the day.
        median: rows of the weekdays.
        lower: rows below which the day is unusual.
        upper: rows above which it is.
        weeks: how many weekdays were compared.
        unusual_columns: what is unusual of its columns: a phrase for each, with what is usual.
    """

    rows: int
    median: float
    lower: float
    upper: float
    weeks: int
    unusual_columns: tuple[str, ...] = ()

    @property
    def has_usual_rows(self) -> bool:
        """Whether the number of rows is within the bounds."""
        return self.lower <= self.rows <= self.upper

    @property
    def is_usual(self) -> bool:
        """Whether neither the number of rows nor a column is unusual."""
        return self.has_usual_rows and not self.unusual_columns

    def __str__(self) -> str:
        by = f"by the same weekday of {self.weeks} weeks before"
        if self.is_usual:
            return f"{self.rows:,} rows, and the values of all columns, are usual, {by}"
        unusual = list(self.unusual_columns)
        if not self.has_usual_rows:
            rows = f"{self.rows:,} rows; {self.lower:,.0f} to {self.upper:,.0f} are usual"
            unusual.insert(0, rows)
        return f"{'; '.join(unusual)}; {by}"


def compare_day(
    warehouse: Warehouse, table: Table, day: dt.date, limits: ChecksSettings
) -> DayComparison | None:
    """Compares the partition of a day, or of a week by its Monday, with those before it.

    Rows: the median times and over a factor. Empty values: as many as on any of the weekdays, and a
    share more. Numbers: none below 0 where there was none, none a factor beyond the largest, and
    not all of them a factor below the largest of every weekday.

    Args:
        warehouse: with the partitions.
        table: a table by day or week.
        day: of the partition.
        limits: how far a day may differ.

    Returns:
        None if the partition is missing, or fewer than four of the weekdays have rows, or few.
    """
    profile = _read(warehouse, table, day)
    weekdays = [day - dt.timedelta(days=7 * week) for week in range(1, limits.weeks + 1)]
    before = [_read(warehouse, table, weekday) for weekday in weekdays]
    known = [earlier for earlier in before if earlier and earlier.rows]
    rows = [earlier.rows for earlier in known]
    if profile is None or len(known) < MIN_WEEKS or median(rows) < MIN_ROWS:
        return None
    usual, factor = median(rows), max(limits.rows_factor, _spread_factor(rows))
    phrases = [
        phrase
        for name, column in profile.columns.items()
        for phrase in _unusual(
            name, column, [p.columns[name] for p in known if name in p.columns], limits
        )
    ]
    return DayComparison(
        profile.rows, usual, usual / factor, usual * factor, len(known), tuple(phrases)
    )


def _read(warehouse: Warehouse, table: Table, day: dt.date) -> PartitionProfile | None:
    return read_profile(warehouse.path(table, day.isoformat()), table)


def _unusual(
    name: str, column: ColumnProfile, before: Sequence[ColumnProfile], limits: ChecksSettings
) -> Iterator[str]:
    """Yields a phrase for each property of a column that is unusual."""
    if len(before) < MIN_WEEKS:
        return
    shares = [earlier.null_share for earlier in before]
    margin = max(limits.null_share, SPREADS * _deviation(shares))
    if column.null_share > max(shares) + margin:
        yield (
            f"{name} is empty in {column.null_share:.0%} of the rows; up to "
            f"{min(max(shares) + margin, 1):.0%} is usual"
        )
    ranges = [earlier for earlier in before if not math.isnan(earlier.magnitude)]
    if len(ranges) < MIN_WEEKS or math.isnan(column.magnitude):
        return
    if column.lowest < 0 <= min(earlier.lowest for earlier in ranges):
        yield f"{name} has numbers below 0 ({column.lowest:,.6g}); none is usual"
    magnitudes = [earlier.magnitude for earlier in ranges]
    if min(magnitudes) <= 0:
        return
    factor = max(limits.range_factor, _spread_factor(magnitudes))
    lower, upper = min(magnitudes) / factor, max(magnitudes) * factor
    if column.magnitude > upper:
        yield f"{name} reaches {column.magnitude:,.6g}; up to {upper:,.6g} is usual"
    elif column.magnitude < lower:
        yield f"{name} reaches {column.magnitude:,.6g} only; at least {lower:,.6g} is usual"


def _spread_factor(values: Sequence[float]) -> float:
    """The factor of `SPREADS` standard deviations of the logarithms of positive values."""
    return math.exp(SPREADS * _deviation([math.log(value) for value in values]))


def _deviation(values: Sequence[float]) -> float:
    """The standard deviation of normally distributed values, by their median distance."""
    center = median(values)
    return 1.4826 * median([abs(value - center) for value in values])
