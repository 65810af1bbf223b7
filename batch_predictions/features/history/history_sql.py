"""SQL of the history of entities: one row per entity, as of the end of `$date`.

The same query makes the daily feature table and, on a sample of the entities, the examples of past
days that a training learns from. It reads no event after `$date`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from batch_predictions.features.history.event_measures import (
    HISTORY_DAYS,
    MAX_SPAN,
    REVIEW,
    Measure,
    query_measure,
    reads_reviews,
    standard_measures,
)
from batch_predictions.features.history.promotions_ahead import (
    PROMOTIONS_AHEAD,
    promotions_ahead_sql,
)
from batch_predictions.settings.predictive_query import PredictiveQuery

EVENT_COLUMNS = {
    "date": "DATE",
    "event_type": "VARCHAR",
    "user_id": "VARCHAR",
    "item_id": "VARCHAR",
    "location": "VARCHAR",
    "quantity": "DOUBLE",
    "amount": "DOUBLE",
    "rating": "DOUBLE",
    "campaign_id": "VARCHAR",
}
ITEM_COLUMNS = {
    "category": "VARCHAR",
    "subcategory": "VARCHAR",
    "brand": "VARCHAR",
    "price": "DOUBLE",
    "item_attributes": "MAP(VARCHAR, VARCHAR)",
}
USER_COLUMNS = {
    "age_bracket": "VARCHAR",
    "gender": "VARCHAR",
    "user_location": "VARCHAR",
    "user_attributes": "MAP(VARCHAR, VARCHAR)",
}
ATTRIBUTES = {
    "user_id": ("age_bracket", "gender", "user_location", "user_attributes"),
    "item_id": ("category", "subcategory", "brand", "price", "item_attributes"),
}
"""Columns of raw.users and raw.items that describe an entity; the newest snapshot has no past."""
_EVENTS = """
    select date, event_type, user_id, item_id, location, quantity, amount,
        null::DOUBLE as rating, null::VARCHAR as campaign_id
    from raw.interactions where {days}
    union all
    select date, event_type, user_id, item_id, null, null, null, null, campaign_id
    from raw.campaign_events where {days}
"""
_REVIEWS = f"""
    union all
    select date, '{REVIEW}', user_id, item_id, null, null, null, rating, null
    from raw.reviews where {{days}}
"""
_ITEMS = """(
    select item_id, category, subcategory, brand, price, attributes as item_attributes
    from raw.items
) as items"""
_USERS = """(
    select user_id, age_bracket, gender, location as user_location, attributes as user_attributes
    from raw.users
) as users"""
POPULAR_VALUES = 12
"""Most frequent values of 28 days that are candidates of every entity of a `top`."""


def events(days: str, used: str) -> str:
    """SQL of all events of some days with the attributes that a text of SQL names.

    Args:
        days: condition on `date`.
        used: SQL that reads the events; what it does not name is not joined, and reviews are among
            the events only if it names them: a source may have none.
    """
    words = {*re.findall(r"\w+", used)}
    columns, joins = "events.*", ""
    if words & {*ITEM_COLUMNS}:
        columns += ", items.* exclude (item_id)"
        joins += f" left join {_ITEMS} on items.item_id = events.item_id"
    if words & {*USER_COLUMNS}:
        columns += ", users.* exclude (user_id)"
        joins += f" left join {_USERS} on users.user_id = events.user_id"
    rows = _EVENTS + (_REVIEWS if REVIEW in words else "")
    return f"select {columns} from ({rows.format(days=days)}) as events{joins}"


@dataclass(frozen=True)
class History:
    """The features of the entities of one kind, as of the end of a day.

    Attributes:
        keys: columns that identify an entity, one or two.
        measures: of the entity itself.
        part_measures: of each part of a pair, or of an item's category, by the part's column.
        has_popular_values: whether every first key has rows of the most frequent second keys too.
    """

    keys: tuple[str, ...]
    measures: tuple[Measure, ...]
    part_measures: dict[str, tuple[Measure, ...]]
    has_popular_values: bool = False

    @classmethod
    def of(cls, queries: tuple[PredictiveQuery, ...], types: tuple[str, ...]) -> History:
        """The history that some queries over the same entities read.

        Args:
            queries: one or more, with equal `history_keys`.
            types: types of raw.interactions that are described one by one.
        """
        keys = history_keys(queries[0])
        own = tuple(query_measure(query) for query in queries)
        parts = tuple(query_measure(query, is_part=True) for query in queries)
        has_reviews = any(map(reads_reviews, queries))
        standard = standard_measures(types, has_reviews=has_reviews)
        if len(keys) == 1:
            categories = {"category": parts} if keys == ("item_id",) else {}
            return cls(keys, (*own, *standard), categories)
        is_top = queries[0].target.task == "top"
        counts = tuple(measure for measure in standard if measure.rhythm)
        return cls(keys, own, {keys[0]: (*parts, *counts), keys[1]: parts}, is_top)

    @property
    def name(self) -> str:
        """Name of its table, such as `user_history`; that of a `top` begins with the query's."""
        if self.has_popular_values:
            return f"{self.measures[0].name}_candidates"
        return "_".join([*(column.removesuffix("_id") for column in self.keys), "history"])

    @property
    def attributes(self) -> tuple[str, ...]:
        """Columns of raw.users or raw.items that describe the entity or its parts."""
        return tuple(name for key in self.keys for name in ATTRIBUTES.get(key, ()))

    def features(self) -> dict[str, str]:
        """Words of every numeric feature, by column."""
        words = {name: text for m in self.measures for name, _, text in m.columns()}
        for part, measures in self.part_measures.items():
            prefix = _part_prefix(part)
            for measure in measures:
                for name, _, text in measure.columns():
                    words[prefix + name] = f"{text}, of the whole {prefix[:-1]}"
        return words | (PROMOTIONS_AHEAD if "item_id" in self.keys else {})

    def columns(self) -> dict[str, str]:
        """DuckDB type of every column, by name: keys, features, attributes."""
        types = {**EVENT_COLUMNS, **ITEM_COLUMNS, **USER_COLUMNS}
        return {
            **dict.fromkeys(self.keys, "VARCHAR"),
            **dict.fromkeys(self.features(), "DOUBLE"),
            **{name: types[name] for name in self.attributes if name not in self.keys},
        }

    def sql(self, *, is_sample: bool = False) -> str:
        """The query of the rows as of `$date`.

        Args:
            is_sample: whether at most `$max_entities` of the first key are read, the same ones by a
                hash on every day that they are known.
        """
        sample = self._sample() if is_sample else ""
        own = _level(self.keys, self.measures, "", sample)
        relation = self._with_popular_values(own) if self.has_popular_values else own
        columns, joins = "own.*", ""
        if "item_id" in self.keys:
            known = ", ".join(key for key in self.keys if key in ("item_id", *ITEM_COLUMNS))
            columns += f", items.* exclude ({known})"
            joins += f" left join {_ITEMS} on items.item_id = own.item_id"
            columns += ", planned.* exclude (item_id)"
            joins += f" left join ({promotions_ahead_sql()}) as planned"
            joins += " on planned.item_id = own.item_id"
        if "user_id" in self.keys:
            columns += ", users.* exclude (user_id)"
            joins += f" left join {_USERS} on users.user_id = own.user_id"
        for part, measures in self.part_measures.items():
            level = _level(
                (part,), measures, _part_prefix(part), sample if part == self.keys[0] else ""
            )
            owner = "own" if part in self.keys else "items"
            columns += f", part_{part}.* exclude ({part})"
            joins += f" left join ({level}) as part_{part} on part_{part}.{part} = {owner}.{part}"
        names = ", ".join(f'"{name}"' for name in self.columns())
        inner = f"select {columns} from ({relation}) as own{joins}"
        return f"select {names} from ({inner}) order by {', '.join(self.keys)}"

    @property
    def _types(self) -> str:
        """SQL that names the types of the entity's events."""
        return " ".join(measure.value for measure in self.measures)

    def _sample(self) -> str:
        """SQL condition of the sampled first keys; few are never sampled."""
        key = self.keys[0]
        if key not in ("user_id", "item_id"):
            return ""
        days = f"date > $date::DATE - {HISTORY_DAYS} and date <= $date::DATE"
        return (
            f"{key} in (select {key} from ({events(days, self._types)}) group by {key} "
            f"order by md5({key}), {key} limit $max_entities::BIGINT)"
        )

    def _with_popular_values(self, own: str) -> str:
        """Rows of the pairs so far, and of each first key with the most frequent values."""
        first, second = self.keys
        count = f"{self.measures[0].name}_28d"
        return f"""
            with own as materialized ({own}),
            popular as (
                select {second} from own group by {second}
                order by sum({count}) desc, {second} limit {POPULAR_VALUES}
            ),
            pairs as (
                select {first}, {second} from own
                union
                select {first}, {second} from (select distinct {first} from own), popular
            )
            select pairs.{first}, pairs.{second}, own.* exclude ({first}, {second})
            from pairs left join own
            on own.{first} = pairs.{first} and own.{second} = pairs.{second}"""


def history_keys(query: PredictiveQuery) -> tuple[str, ...]:
    """Columns of the entities that a query's features describe: of a `top`, with its value."""
    target = query.target
    return (*query.keys, target.expression) if target.task == "top" else query.keys


def _part_prefix(part: str) -> str:
    return f"{part.removesuffix('_id')}_"


def _level(keys: tuple[str, ...], measures: tuple[Measure, ...], prefix: str, sample: str) -> str:
    """SQL of the measures of one kind of entity, as of `$date`.

    Args:
        keys: columns that identify an entity.
        measures: what is aggregated.
        prefix: of the columns' names.
        sample: condition of the events' keys; empty: all.
    """
    days = f"date > $date::DATE - {HISTORY_DAYS} and date <= $date::DATE"
    values = ", ".join(f"{measure.value} as {measure.name}" for measure in measures)
    features = ", ".join(
        f'({sql})::DOUBLE as "{prefix}{name}"'
        for measure in measures
        for name, sql, _ in measure.columns()
    )
    names, known = ", ".join(keys), " and ".join(f"{key} is not null" for key in keys)
    condition = f"{known} and {sample}" if sample else known
    relation = events(days, f"{values} {names}")
    edges = age_edges(measures)
    ages = " ".join(f"when date > $date::DATE - {edge} then {edge}" for edge in edges)
    partials = ", ".join(
        f"{sql} as {name}" for measure in measures for name, sql in measure.partials()
    )
    selected = (
        f"select {names}, date, case {ages} end as edge, {values} "
        f"from ({relation}) where {condition}"
    )
    # Few aggregates read all events; the many windows are sums of what is between two edges.
    between = f"select {names}, edge, {partials} from ({selected}) group by {names}, edge"
    return f"select {names}, {features} from ({between}) group by {names}"


def age_edges(measures: Sequence[Measure]) -> list[int]:
    """Ages in days at which windows begin or end, at most MAX_SPAN apart, the youngest first."""
    edges = {HISTORY_DAYS}.union(*(measure.edges for measure in measures))
    between = [0, *sorted(edges)]
    for start, end in pairwise(between):
        edges.update(range(start + MAX_SPAN, end, MAX_SPAN))
    return sorted(edges)
