"""Reads of the explorer's pages beside the lookups: titles, examples, search, segments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import sqlalchemy as sa

from batch_predictions.serving.explorer.own_tables import OwnTable, read_own_tables
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.item_lookup import (
    FORECASTS,
    LEAD_TIMES,
    ORDERS,
    SENTIMENTS,
    item_sentiment,
    orders,
)
from batch_predictions.serving.lookup.rows import read_table_rows
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.serving.store.store import ITEMS, USERS, columns_of, declared_table
from batch_predictions.tables import (
    ASPECTS,
    DEMAND_FORECASTS,
    DEMOGRAPHIC_RECOMMENDATIONS,
    ITEM_SENTIMENTS,
    LEAD_TIME_DEMAND,
    PROMOTION_AUDIENCE,
    RECOMMENDATIONS,
    REPLENISHMENT_ORDERS,
    RETENTION_AUDIENCE,
    Table,
)
from batch_predictions.tables.segments import ATTRIBUTES, UNKNOWN

EXAMPLES = 6
MAX_TITLE_MATCHES = 25
MAX_CHOICES = 300
"""Values of an attribute that a form offers at most; others can be typed."""
_TITLES_AT_ONCE = 500
_ITEM_SECTIONS = (FORECASTS, LEAD_TIMES, ORDERS, SENTIMENTS, ASPECTS.name)
"""Tables of items that have a section on the item's page."""
_LEVELS = dict(zip(ATTRIBUTES, ("age", "gender", "location"), strict=True))


class Example(NamedTuple):
    """An id to click on, and what it is called."""

    id: str
    label: str


class Matches(NamedTuple):
    """Users, items and campaigns that match a text of the search field.

    Attributes:
        exact: kinds (users, items, campaigns) of which it is an id.
        items: items with the text in their title.
    """

    exact: list[str]
    items: list[Example]


def complete_rows(rows: Iterable[Mapping[str, Any]], table: Table) -> list[dict[str, Any]]:
    """Rows with all columns of their declaration: None where their release is older than those."""
    columns = dict.fromkeys(columns_of(table))
    return [{**columns, **row} for row in rows]


class ItemPredictions(NamedTuple):
    """Everything that a release predicts of an item; None or empty where it has nothing.

    Attributes:
        title: of the item.
        category: of the item.
        forecasts: by location and day.
        lead_times: demand over the periods that orders need.
        orders: one per location.
        sentiment: of the newest week, as `item_sentiment` gives it.
        own_tables: of predictive queries and plugins.
    """

    title: str | None
    category: str | None
    forecasts: list[dict[str, Any]]
    lead_times: list[dict[str, Any]]
    orders: list[dict[str, Any]]
    sentiment: dict[str, Any] | None
    own_tables: list[OwnTable]

    @property
    def is_empty(self) -> bool:
        """Whether the release has neither the item nor any prediction of it."""
        return not any(self)


def read_titles(db: sa.Connection, served: ServedRelease, items: Iterable[str]) -> dict[str, str]:
    """Reads the titles of items; items without a title are left out.

    Args:
        db: a connection to the store.
        served: the release to read.
        items: ids of items, as the release has them.
    """
    wanted = sorted(set(items))
    titles: dict[str, str] = {}
    for start in range(0, len(wanted), _TITLES_AT_ONCE):
        part = wanted[start : start + _TITLES_AT_ONCE]
        query = sa.select(ITEMS.c.item_id, ITEMS.c.title).where(
            ITEMS.c.release_id == served.release_id, ITEMS.c.item_id.in_(part)
        )
        titles |= {item: title for item, title in db.execute(query) if title}
    return titles


def read_examples(db: sa.Connection, served: ServedRelease) -> dict[str, list[Example]]:
    """A few users, items and campaigns of a release, by kind."""
    users = [
        # Those of the audience first: of them most is predicted.
        *_first(db, served, RETENTION_AUDIENCE.name, {})[: EXAMPLES // 2],
        *_first(db, served, RECOMMENDATIONS.name),
    ]
    user_ids = list(dict.fromkeys(row["user_id"] for row in users))
    return {
        "users": [Example(user_id, "") for user_id in user_ids[:EXAMPLES]],
        "items": _example_items(db, served),
        "campaigns": [
            Example(row["campaign_id"], row.get("kind") or "")
            for row in _first(db, served, PROMOTION_AUDIENCE.name)
        ],
    }


def _first(
    db: sa.Connection,
    served: ServedRelease,
    table: str,
    key: Mapping[str, Any] = MappingProxyType({"rank": 1}),
) -> list[dict[str, Any]]:
    """Reads the first rows of a table, by rank where it is ranked; empty if it is absent."""
    if table not in served.tables:
        return []
    return read_table_rows(db, served, table, key, EXAMPLES)


def _example_items(db: sa.Connection, served: ServedRelease) -> list[Example]:
    """Items of the most complete table: of forecasts, else sentiments, else any."""
    ids: list[str] = []
    for table in (ORDERS, SENTIMENTS):
        if not ids and table in served.tables:
            rows = read_table_rows(db, served, table, {}, EXAMPLES)
            ids = list(dict.fromkeys(row["item_id"] for row in rows))
    if not ids:
        query = sa.select(ITEMS.c.item_id).where(ITEMS.c.release_id == served.release_id)
        ids = list(db.execute(query.order_by(ITEMS.c.item_id).limit(EXAMPLES)).scalars())
    titles = read_titles(db, served, ids)
    return [Example(item, titles.get(item, "")) for item in ids]


def find_matches(lookup: Lookup, text: str) -> Matches:
    """Finds users, items and campaigns in the lookup's release that match a search text."""

    def read(db: sa.Connection, served: ServedRelease) -> Matches:
        ids = {name: lookup.normalise(name, text) for name in ("user_id", "item_id", "campaign_id")}
        exact = []
        if _has_user(db, served, ids["user_id"]):
            exact.append("users")
        if not read_item(lookup, ids["item_id"]).is_empty:
            exact.append("items")
        campaign = {"campaign_id": ids["campaign_id"]}
        table = PROMOTION_AUDIENCE.name
        if table in served.tables and read_table_rows(db, served, table, campaign, 1):
            exact.append("campaigns")
        query = (
            sa.select(ITEMS.c.item_id, ITEMS.c.title)
            .where(
                ITEMS.c.release_id == served.release_id,
                ITEMS.c.title.icontains(text, autoescape=True),
            )
            .order_by(ITEMS.c.title, ITEMS.c.item_id)
            .limit(MAX_TITLE_MATCHES)
        )
        return Matches(exact, [Example(item, title) for item, title in db.execute(query)])

    return lookup.read(read)


def _has_user(db: sa.Connection, served: ServedRelease, user_id: str) -> bool:
    query = sa.select(USERS.c.user_id).where(
        USERS.c.release_id == served.release_id, USERS.c.user_id == user_id
    )
    if db.execute(query).first() is not None:
        return True
    table = RECOMMENDATIONS.name
    return table in served.tables and bool(
        read_table_rows(db, served, table, {"user_id": user_id}, 1)
    )


def read_choices(db: sa.Connection, served: ServedRelease) -> dict[str, list[str]]:
    """Values of age_bracket, gender and location that have a segment of their own, by name."""
    if DEMOGRAPHIC_RECOMMENDATIONS.name not in served.tables:
        return {name: [] for name in ATTRIBUTES}
    table = declared_table(DEMOGRAPHIC_RECOMMENDATIONS)
    choices = {}
    for name, level in _LEVELS.items():
        column = table.c[name]
        query = (
            sa.select(column)
            .where(
                table.c.release_id == served.release_id,
                table.c.segment_level == level,
                column.not_in(("", UNKNOWN)),
            )
            .distinct()
            .order_by(column)
            .limit(MAX_CHOICES)
        )
        choices[name] = list(db.execute(query).scalars())
    return choices


def read_item(lookup: Lookup, item_id: str) -> ItemPredictions:
    """Reads everything that the lookup's release predicts of an item, or of category:NAME."""

    def read(db: sa.Connection, served: ServedRelease) -> ItemPredictions:
        query = sa.select(ITEMS.c.title, ITEMS.c.category).where(
            ITEMS.c.release_id == served.release_id, ITEMS.c.item_id == item_id
        )
        title, category = db.execute(query).one_or_none() or (None, None)
        forecasts: list[dict[str, object]] = []
        lead_times: list[dict[str, object]] = []
        if FORECASTS in served.tables:
            forecasts = lookup.rows(FORECASTS, item_id=item_id)
        if LEAD_TIMES in served.tables:
            lead_times = lookup.rows(LEAD_TIMES, item_id=item_id)
        return ItemPredictions(
            title,
            category,
            complete_rows(forecasts, DEMAND_FORECASTS),
            complete_rows(lead_times, LEAD_TIME_DEMAND),
            complete_rows(
                orders(lookup, item_id)["orders"] if ORDERS in served.tables else [],
                REPLENISHMENT_ORDERS,
            ),
            _read_sentiment(lookup, item_id) if SENTIMENTS in served.tables else None,
            read_own_tables(db, served, "item_id", item_id, _ITEM_SECTIONS),
        )

    return lookup.read(read)


def _read_sentiment(lookup: Lookup, item_id: str) -> dict[str, Any] | None:
    answer = item_sentiment(lookup, item_id)
    if answer["sentiment"] is None:
        return None
    [row] = complete_rows([answer["sentiment"]], ITEM_SENTIMENTS)
    return {**answer, "sentiment": row}
