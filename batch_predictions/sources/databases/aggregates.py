"""Aggregates of a table by day, computed by the database: they tell whether rows have changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batch_predictions.sources.base import MAX_DATE
from batch_predictions.sources.databases.connection import DatabaseColumn, DatabaseConnection
from batch_predictions.sources.databases.time_columns import TimeColumn, TypedTimeColumn

DAYS_PER_QUERY = 32
"""Days that one query distinguishes by conditions, if the dialect has no function of days."""
_KEY = "batch_predictions_day"


@dataclass(frozen=True)
class Aggregation:
    """Aggregates of the rows of a day: their count, sums, and the newest change.

    Attributes:
        relation: SQL that can follow `from`.
        expressions: SQL of the aggregates.
    """

    relation: str
    expressions: tuple[str, ...]

    @classmethod
    def build(
        cls,
        connection: DatabaseConnection,
        relation: str,
        columns: Mapping[str, DatabaseColumn],
        numbers: Sequence[str],
        updated_at: str | None,
    ) -> Aggregation:
        """The aggregation of a table.

        Args:
            connection: an open connection.
            relation: SQL that can follow `from`.
            columns: columns of the relation.
            numbers: columns to sum, if they are numbers.
            updated_at: column of the time of the last change.
        """
        dialect = connection.dialect
        expressions = ["count(*)"]
        for name in numbers:
            if columns[name].kind in ("number", "dynamic"):
                # Sums of whole numbers do not depend on their order, unlike those of fractions.
                expressions.append(f"sum(round({dialect.column(name)} * 100.0))")
        if updated_at:
            expressions.append(dialect.as_text(f"max({dialect.column(updated_at)})"))
        return cls(relation, tuple(expressions))

    def of_table(self, connection: DatabaseConnection, condition: str = "1 = 1") -> list[str]:
        """The aggregates of all rows that meet a condition, as text."""
        [row] = connection.rows(
            f"select {', '.join(self.expressions)} from {self.relation} where {condition}"
        )
        return [str(value) for value in row]

    def by_day(
        self, connection: DatabaseConnection, time: TimeColumn, days: Sequence[dt.date]
    ) -> dict[dt.date | None, list[str]]:
        """The aggregates of days that have rows, as text.

        Those of None are of rows that may belong to any day, since the database cannot read it.

        Args:
            connection: to the database.
            time: the column that gives the day.
            days: at least one.
        """
        aggregates: dict[dt.date | None, list[str]] = {}
        day = time.day(min(days), max(days))
        if day is not None:
            for key, *values in self._grouped(connection, day, time.condition(days)):
                day_key = None if key is None else time.day_of(key)
                aggregates[day_key] = [str(value) for value in values]
        else:
            for start in range(0, len(days), DAYS_PER_QUERY):
                chunk = days[start : start + DAYS_PER_QUERY]
                numbered = "".join(
                    f"when {time.within(date, date, margin=0)} then {n} "
                    for n, date in enumerate(chunk)
                )
                condition = time.condition(chunk)
                for key, *values in self._grouped(connection, f"case {numbered}end", condition):
                    if key is not None:
                        aggregates[chunk[int(key)]] = [str(value) for value in values]
        return {day: aggregates[day] for day in (None, *days) if day in aggregates}

    def _grouped(
        self, connection: DatabaseConnection, key: str, condition: str
    ) -> list[tuple[Any, ...]]:
        return connection.rows(
            f"select {_KEY}, {', '.join(self.expressions)} from (select rows_.*, {key} as {_KEY} "
            f"from {self.relation} where {condition}) grouped_ group by {_KEY}"
        )


@dataclass(frozen=True)
class DatabaseDays:
    """Numbers of rows by plausible day; each method is a query.

    Attributes:
        connection: an open connection.
        relation: SQL that can follow `from`.
        time: the column of the day.
        earliest: earlier days are not plausible.
    """

    connection: DatabaseConnection
    relation: str
    time: TimeColumn
    earliest: dt.date

    def span(self, first: dt.date, last: dt.date) -> tuple[dt.date, dt.date] | None:
        """First and last day with rows between two days, both included; None: there is none."""
        first, last = max(first, self.earliest), min(last, MAX_DATE)
        if first > last:
            return None
        days: list[dt.date] = []
        for value, condition in self._ranges(first, last):
            [row] = self.connection.rows(
                f"select min({value}), max({value}) from {self.relation} where {condition}"
            )
            days += [self.time.day_of(bound) for bound in row if bound is not None]
        days = [min(max(day, first), last) for day in days]
        return (min(days), max(days)) if days else None

    def rows(self, first: dt.date, last: dt.date) -> int:
        """Number of rows between two days, both included."""
        first, last = max(first, self.earliest), min(last, MAX_DATE)
        if first > last:
            return 0
        condition = self.time.within(first, last, margin=0)
        [(rows,)] = self.connection.rows(f"select count(*) from {self.relation} where {condition}")
        return int(rows)

    def _ranges(self, first: dt.date, last: dt.date) -> list[tuple[str, str]]:
        """SQL of a value of the day, and the condition in which it is that."""
        time = self.time
        if isinstance(time, TypedTimeColumn):
            return [
                (time.sql, f"{time.sql} >= {start} and {time.sql} < {end}")
                for start, end in (
                    map(time.dialect.value, bounds) for bounds in time.bounds(first, last, 0)
                )
            ]
        day = time.day(first, last)
        return [(str(day), f"{day} between '{first}' and '{last}'")]
