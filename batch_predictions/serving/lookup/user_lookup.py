"""Lookups of users in the current release: churn scores, audiences, what a user did last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.rows import read_table_rows
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.serving.store.store import ITEMS
from batch_predictions.tables.release_tables import USER_HISTORY

CHURN, RETENTION, PROMOTION = "churn_scores", "retention_audience", "promotion_audience"


def churn(lookup: Lookup, user_id: str) -> dict[str, Any]:
    """The churn probability of a customer.

    Returns:
        user_id, release_id, as_of and churn (None if the customer is not active).

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no churn scores.
    """
    answer = lookup.answer(CHURN, user_id=user_id)
    return {
        "user_id": user_id,
        "release_id": answer["release_id"],
        "as_of": answer["as_of"],
        "churn": answer["rows"][0] if answer["rows"] else None,
    }


def retention(lookup: Lookup, limit: int | None = None) -> dict[str, Any]:
    """The retention audience, best first.

    Args:
        lookup: the open release.
        limit: number of customers at most; None: all.

    Returns:
        release_id, as_of, partition and rows.

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no retention audience.
    """
    return lookup.answer(RETENTION, limit=limit)


def promotions(
    lookup: Lookup,
    campaign: str | None = None,
    user_id: str | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """The audience of a campaign, best first, or the campaigns of a customer.

    Args:
        lookup: the open release.
        campaign: only this campaign; None: all.
        user_id: only this customer; None: all.
        limit: number of rows at most; None: all.

    Returns:
        release_id, as_of, partition and rows.

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no promotion audience.
    """
    key = {"campaign_id": campaign, "user_id": user_id}
    key = {column: value for column, value in key.items() if value is not None}
    return lookup.answer(PROMOTION, limit=limit, **key)


def churn_lines(answer: dict[str, Any]) -> Iterator[str]:
    """An answer of `churn` as lines of text."""
    user_id, as_of, row = answer["user_id"], answer["as_of"], answer["churn"]
    if row is None:
        yield f"{user_id}: not an active customer as of {as_of}"
        return
    yield (
        f"{user_id}, as of {as_of}: churn probability {row['churn_probability']:.1%}, last "
        f"purchase {row['days_inactive']} days earlier"
    )


HISTORY = USER_HISTORY.name


def read_history(
    db: sa.Connection, served: ServedRelease, user_id: str
) -> list[dict[str, object]] | None:
    """A user's newest items, the newest first.

    Args:
        db: a connection, in a snapshot.
        served: the release.
        user_id: as the source writes it.

    Returns:
        position, item_id, title, category, last_on, events and event_types of each item; None if
        the release has no histories.
    """
    if HISTORY not in served.tables:
        return None
    rows = read_table_rows(db, served, HISTORY, {"user_id": user_id})
    query = sa.select(ITEMS.c.item_id, ITEMS.c.title, ITEMS.c.category).where(
        ITEMS.c.release_id == served.release_id,
        ITEMS.c.item_id.in_([row["item_id"] for row in rows]),
    )
    described = {item: (title, category) for item, title, category in db.execute(query)}
    history = []
    for row in rows:
        title, category = described.get(row["item_id"], (None, None))
        history.append(
            {
                "position": row["position"],
                "item_id": row["item_id"],
                "title": title or row["item_id"],
                "category": category,
                "last_on": row["last_on"],
                "events": row["events"],
                "event_types": row["event_types"],
            }
        )
    return history
