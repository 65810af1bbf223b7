"""Lookups of an item's sentiment in the current release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from batch_predictions.serving.lookup import Lookup, NotPublishedError
from batch_predictions.serving.lookup.rows import read_table_rows
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.tables.release_tables import REVIEW_QUOTES

ITEMS, ASPECTS, REVIEWS = "item_sentiments", "aspects", "review_sentiments"
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
    answer = lookup.answer(ITEMS, item_id=item_id)
    aspects: list[dict[str, Any]] = []
    examples: list[dict[str, object]] = []
    quotes: list[dict[str, object]] | None = []
    row = answer["rows"][0] if answer["rows"] else None
    if row:
        try:
            aspects = lookup.rows(ASPECTS, item_id=item_id)
        except NotPublishedError:
            # A release may have been published without aspects.
            aspects = []
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
