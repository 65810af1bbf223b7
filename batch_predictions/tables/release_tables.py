"""Tables that only releases have: the warehouse has no folder and no view of them."""

from __future__ import annotations

from batch_predictions.tables.base import Table, columns

USER_HISTORY = Table(
    "serving",
    "user_history",
    "The newest items of every user, for pages that show them beside the recommendations.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: user
        position BIGINT: 1 is the item of the newest event
        item_id VARCHAR: item
        last_on DATE: day of the user's newest event with the item
        events BIGINT: events with the item within serving.history_days
        event_types VARCHAR[]: types of these events; return: also for a negative quantity
    """),
    key=("user_id", "position"),
)
REVIEW_QUOTES = Table(
    "serving",
    "review_quotes",
    "Texts of the reviews that item_sentiments names as examples, shortened.",
    columns("""
        week DATE: Monday
        item_id VARCHAR: item
        review_id VARCHAR: review
        text VARCHAR: at most 280 characters; addresses and long numbers are masked
        rating DOUBLE: the reviewer's rating
        sentiment VARCHAR: negative, neutral or positive, as scored
        written_on DATE: day of the review
        simulated BOOLEAN: whether the review was simulated for the demo
        user_id VARCHAR: who wrote it, so that the quote is erased with the user
    """),
    key=("item_id", "review_id"),
    partition="week",
)
CONTEXT_TABLES = (USER_HISTORY, REVIEW_QUOTES)
"""What predictions rest on: computed from raw rows when a release is published."""
