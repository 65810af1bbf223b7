"""Measures of events: what is added up, averaged or counted of an entity's past.

This module declares every feature of predictive queries: `STANDARD_MEASURES` of all entities, the
measure of a query itself, and the columns that each measure gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from batch_predictions.settings.predictive_query import PredictiveQuery

HISTORY_DAYS = 364
"""Days that features look back; entities without an event in them are not predicted."""
WINDOWS = (7, 28, 91, 364)
"""Lengths of past windows, days, of every measure."""
QUERY_WINDOWS = (7, 14, 28, 56, 91, 182, 364)
"""Those of a query's own measure; the length of the query's window is added."""
PART_WINDOWS = (28, 91, 364)
"""Those of the parts of a pair, and of an item's category."""
HALF_LIVES = (14, 56)
"""Half-lives of the decayed sums of a query's own measure, days."""


@dataclass(frozen=True)
class Measure:
    """A number of every event, and how it is aggregated over days.

    Attributes:
        name: beginning of its columns' names.
        words: what it is, for reasons.
        value: SQL of an event's value; null where the event does not count.
        events: what the events are called, for the words of their rhythm; empty: `words`.
        aggregate: of the values of a window.
        windows: lengths of the windows, days.
        rhythm: whether days with an event are described too: recency, number, mean gap.
        half_lives: of decayed sums, days.
        year_ago: first and last day of the window a year before the predicted one, counted in days
            before the day of the prediction; None without it.
    """

    name: str
    words: str
    value: str
    events: str = ""
    aggregate: Literal["sum", "mean", "min", "max", "distinct"] = "sum"
    windows: tuple[int, ...] = WINDOWS
    rhythm: bool = False
    half_lives: tuple[int, ...] = ()
    year_ago: tuple[int, int] | None = None

    @property
    def day_columns(self) -> list[tuple[str, str]]:
        """Name and SQL of the partial aggregates of an entity's day."""
        n = f"count({self.value})::DOUBLE"
        sums = [(f"{self.name}__n", n)] if self.rhythm or self.aggregate == "mean" else []
        aggregate = {
            "sum": f"fsum(({self.value})::DOUBLE)",
            "mean": f"fsum(({self.value})::DOUBLE)",
            "min": f"min(({self.value})::DOUBLE)",
            "max": f"max(({self.value})::DOUBLE)",
            "distinct": f"count(distinct {self.value})::DOUBLE",
        }[self.aggregate]
        return [*sums, (self.name, aggregate)]

    def columns(self) -> Iterator[tuple[str, str, str]]:
        """Name, SQL over an entity's days, and words of every feature."""
        for window in self.windows:
            yield (
                f"{self.name}_{window}d",
                self._over(f"day > $date::DATE - {window}"),
                f"{self.words} in {window} days",
            )
        for half_life in self.half_lives:
            decayed = f"{self.name} * pow(0.5, ($date::DATE - day) / {half_life}.0)"
            yield (
                f"{self.name}_decayed_{half_life}d",
                f"coalesce(fsum({decayed}), 0)",
                f"{self.words}, recent days weighing most",
            )
        if self.year_ago:
            first, last = self.year_ago
            yield (
                f"{self.name}_year_ago",
                self._over(f"day >= $date::DATE - {first} and day <= $date::DATE - {last}"),
                f"{self.words} in the same weeks a year before",
            )
        if self.rhythm:
            yield from self._rhythm()

    def _over(self, condition: str) -> str:
        column, filtered = self.name, f"filter ({condition})"
        if self.aggregate == "mean":
            return f"fsum({column}) {filtered} / nullif(fsum({column}__n) {filtered}, 0)"
        if self.aggregate in ("min", "max"):
            return f"{self.aggregate}({column}) {filtered}"
        return f"coalesce(fsum({column}) {filtered}, 0)"

    def _rhythm(self) -> Iterator[tuple[str, str, str]]:
        happened = f"{self.name}__n > 0"
        days = f"count(day) filter ({happened})"
        newest, oldest = (f"{end}(day) filter ({happened})" for end in ("max", "min"))
        since = f"($date::DATE - {newest})"
        gap = f"(({newest}) - ({oldest})) / nullif({days} - 1, 0)"
        first, events = f"($date::DATE - {oldest})", self.events or self.words
        overdue = f"{since} / nullif({gap}, 0)"
        yield f"{self.name}_days_since", since, f"days since the newest of its {events}"
        yield f"{self.name}_days_since_first", first, f"days since the first of its {events}"
        yield f"{self.name}_active_days", days, f"days with {events}"
        yield f"{self.name}_mean_gap", gap, f"mean days between its {events}"
        yield f"{self.name}_overdue", overdue, f"days since its {events} / mean days between them"


def event_condition(query: PredictiveQuery) -> str:
    """SQL condition of the events that a query is about; `where` of one row."""
    condition = f"event_type = '{query.of}'"
    return f"({condition} and ({query.where}))" if query.where else condition


def query_measure(query: PredictiveQuery, *, is_part: bool = False) -> Measure:
    """The measure that a query's target aggregates.

    Args:
        query: the query.
        is_part: whether it describes a part of a pair, or an item's category.
    """
    target, condition = query.target, event_condition(query)
    expression = target.expression
    value = "1" if target.function in ("count", "first", "top") else expression
    is_sum = target.function in ("sum", "count", "first", "top")
    aggregates = {"avg": "mean", "min": "min", "max": "max", "distinct": "distinct"}
    return Measure(
        query.name,
        _words(query),
        f"case when {condition} then {value} end",
        _event_words(query),
        "sum" if is_sum else aggregates[target.function],  # type: ignore[arg-type]
        PART_WINDOWS if is_part else tuple(sorted({*QUERY_WINDOWS, query.days})),
        rhythm=not is_part,
        half_lives=HALF_LIVES if is_sum and not is_part else (),
        year_ago=None if is_part else _year_ago(query),
    )


def _words(query: PredictiveQuery) -> str:
    """What a query's measure adds up, such as `purchase amount (category = 'TEA')`."""
    function, expression = query.target.function, query.target.expression
    if function in ("count", "first", "top"):
        return _event_words(query)
    words = f"{query.of} {expression.removesuffix('_id')}"
    return f"{words} ({query.where})" if query.where else words


def _event_words(query: PredictiveQuery) -> str:
    words = f"{query.of} events" if query.of.endswith(("s", "d")) else f"{query.of}s"
    return f"{words} ({query.where})" if query.where else words


def _year_ago(query: PredictiveQuery) -> tuple[int, int] | None:
    """The window 364 days, whole weeks, before the predicted one; None if it is not over yet."""
    first, last = 364 - query.starts_in - 1, 364 - query.starts_in - query.days
    return (first, last) if last >= 0 else None


def standard_measures(types: tuple[str, ...], entity: str) -> tuple[Measure, ...]:
    """The measures of every entity, whatever is predicted.

    Args:
        types: types of raw.interactions that are described one by one.
        entity: `user`, `item`, `location` or `category`.
    """
    measures = []
    for name in types:
        is_type = f"event_type = '{name}'"
        measures += [
            Measure(f"{name}_events", f"{name}s", f"case when {is_type} then 1 end", rhythm=True),
            Measure(f"{name}_amount", f"{name} amount", f"case when {is_type} then amount end"),
            Measure(f"{name}_quantity", f"{name} units", f"case when {is_type} then quantity end"),
        ]
    other = "item_id" if entity == "user" else "user_id"
    return (
        *measures,
        Measure(
            "breadth",
            f"different {other[:-3]}s a day",
            other,
            aggregate="distinct",
            windows=(28, 91),
        ),
        *_counts(("redeemed", "redemptions"), ("targeted", "campaigns"), ("review", "reviews")),
        Measure("review_rating", "stars of reviews", "rating", aggregate="mean", windows=(91, 364)),
    )


def _counts(*types: tuple[str, str]) -> Iterator[Measure]:
    for name, words in types:
        yield Measure(f"{name}_events", words, f"case when event_type = '{name}' then 1 end")
