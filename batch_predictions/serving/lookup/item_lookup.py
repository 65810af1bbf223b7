"""Lookups of an item in the current release: forecasts, orders, sentiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from batch_predictions.serving.lookup import Lookup, NotPublishedError
from batch_predictions.serving.lookup.rows import read_sorted_rows, read_table_rows
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.tables.release_tables import REVIEW_QUOTES

FORECASTS, LEAD_TIMES, ORDERS = "demand_forecasts", "lead_time_demand", "replenishment_orders"


def forecast(lookup: Lookup, item_id: str, location: str | None = None) -> dict[str, Any]:
    """The forecasts of an item with quantiles, and its demand over lead time and order cycle.

    Args:
        lookup: the open release.
        item_id: an item, or `category:<name>` for the total of a category.
        location: a shop; None: all locations that are forecast.

    Returns:
        item_id, release_id, as_of, forecasts (by location and day) and lead_time_demand; both lists
        are empty where the item is not forecast.

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no forecasts.
    """
    key: dict[str, object] = {"item_id": item_id}
    if location:
        key["location"] = location
    return lookup.in_one_snapshot(lambda one_release: _forecast(one_release, item_id, key))


def _forecast(lookup: Lookup, item_id: str, key: dict[str, Any]) -> dict[str, Any]:
    answer = lookup.answer(FORECASTS, **key)
    return {
        "item_id": item_id,
        "release_id": answer["release_id"],
        "as_of": answer["as_of"],
        "forecasts": answer["rows"],
        "lead_time_demand": lookup.rows(LEAD_TIMES, **key) if answer["rows"] else [],
    }


def orders(
    lookup: Lookup, item_id: str | None = None, limit: int | None = None, offset: int = 0
) -> dict[str, Any]:
    """Stock levels and order quantities of one item or of all, largest orders first.

    Args:
        lookup: the open release.
        item_id: an item; None: all.
        limit: number of orders at most; None: all.
        offset: number of orders to leave out at the beginning.

    Returns:
        release_id, as_of and orders.

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no orders.
    """
    key = {"item_id": lookup.normalise("item_id", item_id)} if item_id else {}

    def read(db: sa.Connection, served: ServedRelease) -> dict[str, Any]:
        rows = read_sorted_rows(db, served, ORDERS, key, _largest_first, limit, offset)
        return {
            "release_id": served.release_id,
            "as_of": served.day_of(ORDERS).isoformat(),
            "orders": rows,
        }

    return lookup.read(read)


def _largest_first(table: sa.Table) -> list[sa.ColumnElement[Any]]:
    quantity = sa.func.coalesce(table.c.order_quantity, 0)
    return [quantity.desc(), table.c.order_up_to.desc(), table.c.item_id, table.c.location]


def forecast_lines(answer: dict[str, Any]) -> Iterator[str]:
    """An answer of `forecast` as lines of text."""
    item_id, as_of = answer["item_id"], answer["as_of"]
    if not answer["forecasts"]:
        yield f"{item_id}: no forecast as of {as_of}"
        return
    for location in dict.fromkeys(row["location"] for row in answer["forecasts"]):
        rows = [row for row in answer["forecasts"] if row["location"] == location]
        total = sum(row["mean"] for row in rows)
        yield (
            f"{item_id}{_at(location)}, as of {as_of}: {total:.0f} units in {len(rows)} days "
            f"({rows[0]['method']})"
        )
        for row in rows:
            yield (
                f"  {row['target_date']:%a %d %b}  {row['mean']:8.1f}   "
                f"80 %: {row['q10']:.0f} to {row['q90']:.0f}"
            )
        for row in answer["lead_time_demand"]:
            if row["location"] == location:
                yield (
                    f"  {row['days']} days: {row['mean']:.0f} expected, at most "
                    f"{row['q_level']:.0f} with a probability of {row['level']:.0%}"
                )


def order_lines(answer: dict[str, Any]) -> Iterator[str]:
    """An answer of `orders` as lines of text."""
    if not answer["orders"]:
        yield f"no orders as of {answer['as_of']}"
        return
    for row in answer["orders"]:
        item = f"{row['item_id']}{_at(row['location'])}"
        levels = (
            f"order up to {row['order_up_to']:.0f}, reorder point {row['reorder_point']:.0f}, "
            f"safety stock {row['safety_stock']:.0f}, service level {row['service_level']:.0%}"
        )
        if row["order_quantity"] is None:
            yield f"{item}: {levels}; stock on hand is not known"
        else:
            note = ", simulated stock" if row.get("simulated") else ""
            yield (
                f"{item}: order {row['order_quantity']:.0f} ({row['on_hand']:.0f} on hand, "
                f"{row['on_order']:.0f} on order{note}); {levels}"
            )


def _at(location: str) -> str:
    return "" if location == "all" else f" at {location}"


SENTIMENTS, ASPECTS, REVIEWS = "item_sentiments", "aspects", "review_sentiments"
MAX_PRINTED_TERMS = 8
_QUOTE_COLUMNS = ("review_id", "text", "rating", "sentiment", "written_on", "simulated")


def item_sentiment(lookup: Lookup, item_id: str) -> dict[str, Any]:
    """An item's newest week: shares, interval, change, terms, example reviews and quotes.

    Returns:
        item_id, release_id, as_of, week, sentiment (None if the item had no review in the week),
        aspects (strongest first), examples, and quotes of these in their order (None if the
        release has no quotes).

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no sentiments.
    """
    return lookup.in_one_snapshot(lambda one_release: _item_sentiment(one_release, item_id))


def _item_sentiment(lookup: Lookup, item_id: str) -> dict[str, object]:
    answer = lookup.answer(SENTIMENTS, item_id=item_id)
    aspects: list[dict[str, Any]] = []  # A release may have been published without them.
    examples: list[dict[str, object]] = []
    quotes: list[dict[str, object]] | None = []
    row = answer["rows"][0] if answer["rows"] else None
    if row:
        with suppress(NotPublishedError):
            aspects = lookup.rows(ASPECTS, item_id=item_id)
        review_ids = list(row["example_review_ids"] or ())
        for review_id in review_ids:
            examples += lookup.rows(REVIEWS, review_id=review_id)
        quotes = lookup.read(lambda db, served: _read_quotes(db, served, row["item_id"]))
        if quotes is not None:
            quotes = [quote for quote in quotes if quote["review_id"] in review_ids]
            quotes.sort(key=lambda quote: review_ids.index(quote["review_id"]))
    aspects.sort(key=lambda aspect: (-abs(aspect["log_odds"]), aspect["term"]))
    return {
        "item_id": item_id,
        "release_id": answer["release_id"],
        "as_of": answer["as_of"],
        "week": answer["partition"],
        "sentiment": row,
        "aspects": aspects,
        "examples": examples,
        "quotes": quotes,
    }


def _read_quotes(
    db: sa.Connection, served: ServedRelease, item_id: str
) -> list[dict[str, object]] | None:
    """Quotes of an item's example reviews, without their users; None if the release has none."""
    if REVIEW_QUOTES.name not in served.tables:
        return None
    rows = read_table_rows(db, served, REVIEW_QUOTES.name, {"item_id": item_id})
    return [{name: row[name] for name in _QUOTE_COLUMNS} for row in rows]


def sentiment_lines(answer: dict[str, Any]) -> Iterator[str]:
    """The answer of `item_sentiment` as lines of text."""
    row = answer["sentiment"]
    if row is None:
        yield f"{answer['item_id']}: no review in the week of {answer['week']}"
        return
    note = " (simulated reviews)" if row["simulated"] else ""
    yield f"{answer['item_id']}, week of {answer['week']}: {row['reviews']} reviews{note}"
    if row.get("reviews_not_scored"):
        total = row["reviews"] + row["reviews_not_scored"]
        yield f"  {row['reviews_not_scored']} of {total} reviews not scored: {row['not_scored']}"
    yield (
        f"  net sentiment {row['net_sentiment']:+.2f} "
        f"(95 % interval {row['net_lower']:+.2f} to {row['net_upper']:+.2f}): "
        f"{row['share_positive']:.0%} positive, {row['share_neutral']:.0%} neutral, "
        f"{row['share_negative']:.0%} negative"
    )
    if row["change"] is not None:
        yield f"  change {row['change']:+.2f} against the four weeks before ({explain_change(row)})"
    for direction, label in (("up", "positive"), ("down", "negative")):
        terms = [aspect["term"] for aspect in answer["aspects"] if aspect["direction"] == direction]
        if terms:
            yield f"  terms of {label} reviews: {', '.join(terms[:MAX_PRINTED_TERMS])}"
    texts = {quote["review_id"]: quote["text"] for quote in answer["quotes"] or ()}
    for review in answer["examples"]:
        text = texts.get(review["review_id"])
        quoted = f": {text}" if text else ""
        yield f"  example: {review['review_id']} ({review['sentiment']}){quoted}"


def explain_change(row: Mapping[str, object]) -> str:
    """Says in words whether the change of an item's sentiment is significant."""
    if row.get("changed"):
        return "marked as changed"
    return "too few reviews to test" if row.get("change_p") is None else "not significant"
