"""Measures of events: what is added up, averaged or counted of an entity's past.

This module declares every feature of predictive queries: `standard_measures` of all entities, the
measure of a query itself, and the columns that each measure gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.warehouse.path_sql import quote_literal

Aggregate: TypeAlias = Literal["count", "sum", "mean", "min", "max"]
HISTORY_DAYS = 364
"""Days that features look back; entities without an event in them are not predicted."""
REVIEW = "review"
"""Type of the events of raw.reviews."""
MAX_SPAN = 63
"""Days between two edges at most: each has a bit of a BIGINT."""
WINDOWS = (7, 28, 91, 364)
"""Lengths of past windows, days, of every measure."""
QUERY_WINDOWS = (7, 14, 28, 56, 91, 182, 364)
"""Lengths of past windows of a query's own measure; that of its own window is added."""
PART_WINDOWS = (28, 91, 364)
"""Lengths of past windows of the parts of a pair, and of an item's category."""
RATES = (28, 91)
"""Windows of the rates at which days with an event are due."""
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
    aggregate: Aggregate = "sum"
    windows: tuple[int, ...] = WINDOWS
    rhythm: bool = False
    half_lives: tuple[int, ...] = ()
    year_ago: tuple[int, int] | None = None

    @property
    def edges(self) -> set[int]:
        """Ages in days at which one of its windows begins or ends."""
        year_ago = (self.year_ago[0] + 1, self.year_ago[1]) if self.year_ago else ()
        return {*self.windows, *year_ago, *(RATES if self.rhythm else ())} - {0}

    def partials(self) -> Iterator[tuple[str, str]]:
        """Name and SQL of its aggregates over the events of an entity between two edges."""
        aggregate = {"count": "count", "sum": "fsum", "mean": "fsum"}
        yield self.name, f"{aggregate.get(self.aggregate, self.aggregate)}({self.name})"
        if self.aggregate == "mean":
            yield f"{self.name}__n", f"count({self.name})"
        for half_life in self.half_lives:
            weight = f"pow(0.5, ($date::DATE - date) / {half_life}.0)"
            yield f"{self.name}__{half_life}", f"fsum({self.name} * {weight})"
        if self.rhythm:
            happened = f"filter ({self.name} is not null)"
            # A bit for each day, of at most MAX_SPAN: a set of days would take more memory than
            # all else, and could not be written to disk.
            day = "1::BIGINT << (edge - 1 - ($date::DATE - date))::INTEGER"
            yield f"{self.name}__newest", f"max(date) {happened}"
            yield f"{self.name}__oldest", f"min(date) {happened}"
            yield f"{self.name}__days", f"bit_count(bit_or({day}) {happened})"

    def columns(self) -> Iterator[tuple[str, str, str]]:
        """Name, SQL over an entity's partial aggregates, and words of every feature."""
        for window in self.windows:
            yield (
                f"{self.name}_{window}d",
                self._over(f"edge <= {window}"),
                f"{self.words} in {window} days",
            )
        for half_life in self.half_lives:
            yield (
                f"{self.name}_decayed_{half_life}d",
                f"coalesce(fsum({self.name}__{half_life}), 0)",
                f"{self.words}, recent days weighing most",
            )
        if self.year_ago:
            first, last = self.year_ago
            yield (
                f"{self.name}_year_ago",
                self._over(f"edge > {last} and edge <= {first + 1}"),
                f"{self.words} in the same weeks a year before",
            )
        if self.rhythm:
            yield from self._rhythm()

    def _over(self, condition: str) -> str:
        name, filtered = self.name, f"filter ({condition})"
        if self.aggregate == "mean":
            return f"fsum({name}) {filtered} / nullif(sum({name}__n) {filtered}, 0)"
        if self.aggregate in ("min", "max"):
            return f"{self.aggregate}({name}) {filtered}"
        total = "sum" if self.aggregate == "count" else "fsum"
        return f"coalesce({total}({name}) {filtered}, 0)"

    def _rhythm(self) -> Iterator[tuple[str, str, str]]:
        name, events = self.name, self.events or self.words
        days = f"coalesce(sum({name}__days), 0)"
        newest, oldest = f"max({name}__newest)", f"min({name}__oldest)"
        since, first = f"($date::DATE - {newest})", f"($date::DATE - {oldest})"
        gap = f"({newest} - {oldest}) / nullif({days} - 1, 0)"
        overdue = f"{since} / nullif({gap}, 0)"
        yield f"{name}_days_since", since, f"days since the newest of its {events}"
        yield f"{name}_days_since_first", first, f"days since the first of its {events}"
        for window in self.windows:
            yield (
                f"{name}_active_days_{window}d",
                f"coalesce(sum({name}__days) filter (edge <= {window}), 0)",
                f"days with {events} in {window} days",
            )
        month, quarter = (f"coalesce(sum({name}__days) filter (edge <= {n}), 0)" for n in RATES)
        trend = f"ln(({month} + 0.5) / ({quarter} * {RATES[0]} / {RATES[1]} + 0.5))"
        yield f"{name}_trend", trend, f"days with {events} in a month, relative to a quarter"
        for rate, days_of_rate in zip(RATES, (month, quarter), strict=True):
            missed = f"{since} * {days_of_rate} / {rate}.0"
            yield f"{name}_missed_{rate}d", missed, f"days with {events} that were due since"
        yield f"{name}_mean_gap", gap, f"mean days between its {events}"
        yield f"{name}_overdue", overdue, f"days since its {events} / mean days between them"


def reads_reviews(query: PredictiveQuery) -> bool:
    """Returns whether a query is about reviews; others must not need a source to have any."""
    return REVIEW in query.event_types


def event_condition(query: PredictiveQuery) -> str:
    """SQL condition that an event is one that a query is about."""
    types = ", ".join(map(quote_literal, query.event_types))
    condition = f"event_type in ({types})"
    return f"({condition} and ({query.where}))" if query.where else condition


def finite(expression: str) -> str:
    """SQL of a number; null where it is not finite, such as a quotient by 0."""
    return f"case when isfinite(({expression})::DOUBLE) then ({expression})::DOUBLE end"


def query_measure(query: PredictiveQuery, *, is_part: bool = False) -> Measure:
    """The measure that a query's target aggregates.

    Args:
        query: the query.
        is_part: whether it describes a part of a pair, or an item's category.
    """
    target, condition = query.target, event_condition(query)
    expression = target.expression
    # How many different values there were takes a set of each entity: their events are counted.
    is_count = target.function in ("count", "distinct", "first", "top")
    value = "1" if is_count else finite(expression)
    aggregates: dict[str, Aggregate] = {"avg": "mean", "min": "min", "max": "max", "sum": "sum"}
    is_sum = is_count or target.function == "sum"
    return Measure(
        query.name,
        _words(query),
        f"case when {condition} then {value} end",
        _event_words(query),
        "count" if is_count else aggregates[target.function],
        PART_WINDOWS if is_part else tuple(sorted({*QUERY_WINDOWS, query.days})),
        rhythm=not is_part,
        half_lives=HALF_LIVES if is_sum and not is_part else (),
        year_ago=None if is_part else _year_ago(query),
    )


def _words(query: PredictiveQuery) -> str:
    """Words for the values that a query's measure adds up: `purchase amount (price > 1)`."""
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


def standard_measures(types: tuple[str, ...], *, has_reviews: bool) -> tuple[Measure, ...]:
    """The measures of every entity, whatever is predicted.

    Args:
        types: types of raw.interactions that are described one by one.
        has_reviews: whether reviews are described too.
    """
    measures = []
    for type_ in types:
        name, is_type = re.sub(r"\W+", "_", type_), f"event_type = {quote_literal(type_)}"
        measures += [
            Measure(
                f"{name}_events",
                f"{type_}s",
                f"case when {is_type} then 1 end",
                aggregate="count",
                rhythm=True,
            ),
            Measure(f"{name}_amount", f"{type_} amount", f"case when {is_type} then amount end"),
            Measure(f"{name}_quantity", f"{type_} units", f"case when {is_type} then quantity end"),
        ]
    return (*measures, *CAMPAIGN_MEASURES, *(REVIEW_MEASURES if has_reviews else ()))


def _counts(*types: tuple[str, str]) -> Iterator[Measure]:
    for name, words in types:
        yield Measure(
            f"{name}_events",
            words,
            f"case when event_type = '{name}' then 1 end",
            aggregate="count",
        )


CAMPAIGN_MEASURES = tuple(_counts(("redeemed", "redemptions"), ("targeted", "campaigns")))
"""Measures of the events of raw.campaign_events."""
REVIEW_MEASURES = (
    *_counts((REVIEW, "reviews")),
    Measure(
        "review_rating",
        "stars of reviews",
        f"case when event_type = '{REVIEW}' then rating end",
        aggregate="mean",
        windows=(91, 364),
    ),
)
"""Measures of the rows of raw.reviews."""
