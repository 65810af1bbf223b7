"""Conditions of days on the time column of a database's table.

A condition may select rows of neighbouring days too: the exact day of a row is computed after it
was read, by the same rules as for files. It selects all rows of its days.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from batch_predictions.sources.base import MAX_DATE
from batch_predictions.sources.databases.dialects import ColumnKind, SqlDialect, TimeValue

DAY = dt.timedelta(days=1)
MARGIN = dt.timedelta(seconds=1)
"""Margin of a condition, since databases and DuckDB round fractions of a second differently."""
MAX_RANGES = 20
"""Ranges of days in one condition; more are joined."""

# Unix times: units per second, by which the size of a number is decided.
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
_COMPACT_DATES = (19_000_101, 20_991_231)


@dataclass(frozen=True)
class TimeColumn(ABC):
    """The column that gives the business day of a row.

    Attributes:
        sql: the column's name in quotes.
        dialect: of the database.
        timezone: of the business day.
    """

    sql: str
    dialect: SqlDialect
    timezone: str

    @abstractmethod
    def within(self, first: dt.date, last: dt.date, margin: int = 1) -> str:
        """A condition that selects all rows of the days from first to last.

        Args:
            first: first day.
            last: last day.
            margin: 1: with a margin around the days; 0: without it.
        """

    @abstractmethod
    def outside(self, first: dt.date, last: dt.date) -> str:
        """A condition that selects all rows of other days, and those without a day."""

    @abstractmethod
    def day(self, first: dt.date, last: dt.date) -> str | None:
        """SQL of the business day, right for days from first to last; None: use `within`."""

    def unreadable(self) -> str:
        """A condition of values whose day the database cannot tell; they are not null."""
        return "1 = 0"

    def condition(self, days: Sequence[dt.date]) -> str:
        """A condition that selects all rows of some days."""
        return " or ".join(f"({self.within(*days)})" for days in _day_ranges(days)) or "1 = 0"

    def day_of(self, value: object) -> dt.date:
        """The business day of a value of the column, as the driver returns it."""
        if isinstance(value, dt.datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
            return aware.astimezone(ZoneInfo(self.timezone)).date()
        return value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value)[:10])


@dataclass(frozen=True)
class TypedTimeColumn(TimeColumn):
    """A column of times with or without a time zone, of dates, or of numbers."""

    kind: ColumnKind

    def within(self, first: dt.date, last: dt.date, margin: int = 1) -> str:
        """A condition of half-open ranges that selects all rows of the days from first to last."""
        ranges = [self._range(*bounds) for bounds in self.bounds(first, last, margin)]
        return " or ".join(ranges) if len(ranges) == 1 else " or ".join(f"({r})" for r in ranges)

    def outside(self, first: dt.date, last: dt.date) -> str:
        """A condition that selects all rows of other days, with a margin of a day."""
        bounds = self.bounds(first, last, margin=-1)
        if len(bounds) == 1:
            # An index is of use for these, but not for the negation of a range.
            start, end = map(self.dialect.value, bounds[0])
            return f"{self.sql} is null or {self.sql} < {start} or {self.sql} >= {end}"
        ranges = " or ".join(f"({self._range(*pair)})" for pair in bounds)
        return f"{self.sql} is null or not ({ranges})"

    def day(self, first: dt.date, last: dt.date) -> str | None:
        """SQL of the business day by the dialect's function; None if it has none."""
        return self.dialect.local_day(self.sql, self.kind, self.timezone)

    def day_of(self, value: Any) -> dt.date:
        """The business day of a value of the column, as the driver returns it."""
        if self.kind != "number":
            return super().day_of(value)
        number = float(value)
        if _COMPACT_DATES[0] <= number <= _COMPACT_DATES[1]:
            return dt.datetime.strptime(str(int(number)), "%Y%m%d").date()
        unit = next(u for u in reversed(_UNITS) if u == 1 or number > 1e8 * u)
        return super().day_of(dt.datetime.fromtimestamp(number / unit, dt.UTC))

    def bounds(
        self, first: dt.date, last: dt.date, margin: int = 1
    ) -> list[tuple[TimeValue, TimeValue]]:
        """Lower and upper bounds, the upper one excluded, of values of the days.

        Args:
            first: first day.
            last: last day.
            margin: 1: with `MARGIN` around the days, 0: without, -1: within them.
        """
        if self.kind == "date":
            return [(first, last + DAY)]
        start = _utc_start(first, self.timezone) - margin * MARGIN
        end = _utc_start(last + DAY, self.timezone) + margin * MARGIN
        if self.kind == "instant":
            return [(start, end)]
        if self.kind == "timestamp":
            return [(start.replace(tzinfo=None), end.replace(tzinfo=None))]
        seconds = (int(start.timestamp()), int(end.timestamp()))
        dates = (int(first.strftime("%Y%m%d")), int(last.strftime("%Y%m%d")) + 1)
        return [*((seconds[0] * unit, seconds[1] * unit) for unit in _UNITS), dates]

    def _range(self, start: TimeValue, end: TimeValue) -> str:
        return (
            f"{self.sql} >= {self.dialect.value(start)} and {self.sql} < {self.dialect.value(end)}"
        )


@dataclass(frozen=True)
class SqliteTimeColumn(TimeColumn):
    """A column of SQLite: ISO 8601 as text, or Unix time; each value decides.

    Values that SQLite does not read are selected with every condition.
    """

    naive_zone: str = "UTC"

    def within(self, first: dt.date, last: dt.date, margin: int = 1) -> str:
        """A condition for the days and one more on either side, and for unreadable values."""
        day = self.day(first, last)
        return (
            f"{day} between '{first - margin * DAY}' and '{last + margin * DAY}' "
            f"or ({self.sql} is not null and {day} is null)"
        )

    def outside(self, first: dt.date, last: dt.date) -> str:
        """A condition that selects all rows of other days, with a margin of a day."""
        day = self.day(first, last)
        return f"{day} is null or {day} not between '{first + DAY}' and '{last - DAY}'"

    def unreadable(self) -> str:
        """A condition of values that SQLite does not read."""
        return f"{self.sql} is not null and {self.day(MAX_DATE, MAX_DATE)} is null"

    def day(self, first: dt.date, last: dt.date) -> str:
        """SQL of the business day, with the offsets from UTC of the days from first to last."""
        value = self.sql
        utc, seconds = _sqlite_utc(value), _sqlite_offset(self.timezone, first, last)
        offset = seconds.replace("?", utc)
        compact = f"cast(cast({value} as integer) as text)"
        parts = (f"substr({compact}, {start}, {size})" for start, size in ((1, 4), (5, 2), (7, 2)))
        day = " || '-' || ".join(parts)
        day = f"({day})"
        local = ""
        if self.naive_zone != "UTC":
            # SQLite keeps the clock of a text without an offset, and converts that of others.
            is_naive = f"{value} not like '%Z' and substr({value}, 11) not glob '*[+-][0-9][0-9]:*'"
            local = f"when typeof({value}) = 'text' and {is_naive} then date({utc}) "
        return (
            f"case when typeof({value}) = 'text' and length({value}) = 10 "
            f"then case when date({value}) = {value} then {value} end "
            f"when typeof({value}) in ('integer', 'real') "
            f"and {value} between {_COMPACT_DATES[0]} and {_COMPACT_DATES[1]} "
            f"then case when date({day}) = {day} then {day} end "
            f"{local}else date({utc}, {offset}) end"
        )


def timezone_of(kind: ColumnKind, timezone: str, naive_zone: str) -> str:
    """The time zone by which a column's values have their day; local times have it as they are."""
    return "UTC" if kind == "timestamp" and naive_zone == timezone else timezone


def time_column(
    sql: str, kind: ColumnKind, dialect: SqlDialect, timezone: str, naive_zone: str = "UTC"
) -> TypedTimeColumn | SqliteTimeColumn | None:
    """Makes the time column of a table; None if the database cannot select its days.

    Args:
        sql: the column's name in quotes.
        kind: the kind of its type.
        dialect: of the database.
        timezone: of the business day.
        naive_zone: of times without an offset: UTC or that of the business day.
    """
    if kind == "dynamic":
        return SqliteTimeColumn(sql, dialect, timezone, naive_zone)
    if kind in ("instant", "timestamp", "date", "number"):
        return TypedTimeColumn(sql, dialect, timezone_of(kind, timezone, naive_zone), kind)
    return None


def _sqlite_utc(value: str) -> str:
    """SQL of a time as text in UTC; null for others. Words such as now are not read."""
    digits = "[12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9][ T]*"
    unix = (
        f"case when abs({value}) > 1e17 then {value} / 1e9 when abs({value}) > 1e14 "
        f"then {value} / 1e6 when abs({value}) > 1e11 then {value} / 1e3 else {value} end"
    )
    return (
        f"case when typeof({value}) in ('integer', 'real') then datetime({unix}, 'unixepoch') "
        f"when typeof({value}) = 'text' and {value} glob '{digits}' "
        # SQLite reads 30 February as 1 March.
        f"and date(substr({value}, 1, 10)) = substr({value}, 1, 10) then datetime({value}) end"
    )


def _sqlite_offset(timezone: str, first: dt.date, last: dt.date) -> str:
    """SQL of the offset from UTC as a modifier of SQLite; `?` stands for the time in UTC."""
    changes = _offset_changes(timezone, first - 2 * DAY, last + 2 * DAY)
    if len(changes) == 1:
        return f"'{changes[0][1]} seconds'"
    cases = "".join(
        f"when ? < '{end:%Y-%m-%d %H:%M:%S}' then '{seconds} seconds' "
        for (_, seconds), (end, _) in itertools.pairwise(changes)
    )
    return f"case {cases}else '{changes[-1][1]} seconds' end"


@functools.lru_cache(maxsize=256)
def _offset_changes(timezone: str, first: dt.date, last: dt.date) -> list[tuple[dt.datetime, int]]:
    """Times in UTC from which an offset in seconds holds; the first is the start of `first`."""
    zone = ZoneInfo(timezone)

    def offset(time: dt.datetime) -> int:
        delta = time.astimezone(zone).utcoffset()
        assert delta is not None
        return int(delta.total_seconds())

    time = dt.datetime.combine(first, dt.time(), dt.UTC)
    end = dt.datetime.combine(last, dt.time(), dt.UTC)
    changes = [(time, offset(time))]
    while time < end:
        later = time + DAY
        if offset(later) != offset(time):
            low, high = time, later
            while high - low > dt.timedelta(seconds=1):
                middle = low + (high - low) / 2
                middle = middle.replace(microsecond=0)
                low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
            changes.append((high, offset(later)))
        time = later
    return changes


def _utc_start(day: dt.date, timezone: str) -> dt.datetime:
    """The beginning of a business day, in UTC."""
    if day > MAX_DATE:
        return dt.datetime.combine(day, dt.time(), dt.UTC)
    return dt.datetime.combine(day, dt.time(), ZoneInfo(timezone)).astimezone(dt.UTC)


def _day_ranges(days: Sequence[dt.date]) -> list[tuple[dt.date, dt.date]]:
    """Ranges of consecutive days; one from the first to the last if they are many."""
    ranges: list[tuple[dt.date, dt.date]] = []
    for day in sorted(set(days)):
        if ranges and day == ranges[-1][1] + DAY:
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges if len(ranges) <= MAX_RANGES else [(ranges[0][0], ranges[-1][1])]
