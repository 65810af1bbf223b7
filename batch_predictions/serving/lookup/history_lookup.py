"""Lookups of what a user did last, and of what reviewers wrote, where a release has them."""

from __future__ import annotations

import sqlalchemy as sa

from batch_predictions.serving.lookup.rows import read_table_rows
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.serving.store.store import ITEMS
from batch_predictions.tables.release_tables import REVIEW_QUOTES, USER_HISTORY

HISTORY, QUOTES = USER_HISTORY.name, REVIEW_QUOTES.name
_QUOTE_COLUMNS = ("review_id", "text", "rating", "sentiment", "written_on", "simulated")


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


def read_quotes(
    db: sa.Connection, served: ServedRelease, item_id: str
) -> list[dict[str, object]] | None:
    """Quotes of an item's example reviews, without their users; None if the release has none."""
    if QUOTES not in served.tables:
        return None
    rows = read_table_rows(db, served, QUOTES, {"item_id": item_id})
    return [{name: row[name] for name in _QUOTE_COLUMNS} for row in rows]
