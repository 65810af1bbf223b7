"""What an item's customers feel, looked up in the release that is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batch_predictions.serving.lookup import Lookup, NotPublishedError

ITEMS, ASPECTS, REVIEWS = "item_sentiments", "aspects", "review_sentiments"


def item_sentiment(lookup: Lookup, item_id: str) -> dict[str, Any]:
    """An item's newest week: shares, interval, change, terms, and its example reviews.

    Returns:
        item_id, release_id, as_of, week, sentiment (None where nobody reviewed it in the week),
        aspects (strongest first) and examples.

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no sentiments.
    """
    found = lookup.answer(ITEMS, item_id=item_id)
    terms: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    row = found["rows"][0] if found["rows"] else None
    if row:
        try:
            terms = lookup.rows(ASPECTS, item_id=item_id)
        except NotPublishedError:
            # A release of before there were aspects.
            terms = []
        for review_id in row["example_review_ids"] or ():
            examples += lookup.rows(REVIEWS, review_id=review_id)
    terms.sort(key=lambda each: (-abs(each["log_odds"]), each["term"]))
    return {
        "item_id": item_id,
        "release_id": found["release_id"],
        "as_of": found["as_of"],
        "week": found["partition"],
        "sentiment": row,
        "aspects": terms,
        "examples": examples,
    }


def as_lines(answer: dict[str, Any]) -> Iterator[str]:
    """The answer for people."""
    row = answer["sentiment"]
    if row is None:
        yield f"{answer['item_id']}: no review in the week of {answer['week']}"
        return
    made_up = " (simulated reviews)" if row["simulated"] else ""
    yield f"{answer['item_id']}, week of {answer['week']}: {row['reviews']} reviews{made_up}"
    yield (
        f"  net sentiment {row['net_sentiment']:+.2f} "
        f"(95 % interval {row['net_lower']:+.2f} to {row['net_upper']:+.2f}): "
        f"{row['share_positive']:.0%} positive, {row['share_neutral']:.0%} neutral, "
        f"{row['share_negative']:.0%} negative"
    )
    if row["change"] is not None:
        verdict = "changed" if row["changed"] else "within what chance does"
        yield f"  {row['change']:+.2f} against the weeks before: {verdict}"
    for direction in ("up", "down"):
        terms = [each["term"] for each in answer["aspects"] if each["direction"] == direction]
        if terms:
            yield f"  {direction:5} {', '.join(terms[:8])}"
    for each in answer["examples"]:
        yield f"  such as {each['review_id']}: {each['sentiment']}"
