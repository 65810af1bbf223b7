"""Tiles: daily partial aggregates, running totals and states from which others are computed.

They hold nothing that the raw tables do not, and can be removed: the next run makes them again.
"""

from __future__ import annotations

from batch_predictions.tables.base import Table, columns, declare

USER_ITEMS = declare(
    Table(
        "tiles",
        "user_items",
        "One row per user, item and day, in spans of a day or of a whole month.",
        columns("""
        date DATE: last day of the span
        span VARCHAR: day, or month where the span is a calendar month
        day DATE: day of the interactions
        user_id VARCHAR: user
        item_id VARCHAR: item
        interactions BIGINT: interactions of any type
        is_target BOOLEAN: whether any of them is of a target type, returns included
        events DOUBLE: weight of the interactions that recommenders read; null without such
        targets DOUBLE: number of those that are of a target type
        is_seen BOOLEAN: whether any of those is of a type of recommendations.exclude_seen
        event_time BIGINT: ms since the epoch, UTC, of the first of those; 0 if not known
        rating DOUBLE: mean of their ratings; null without any
    """),
        key=("user_id", "item_id", "day"),
        parts=("span",),
    )
)
USER_TOTALS = declare(
    Table(
        "tiles",
        "user_totals",
        "One row per user and day: running totals of all interactions so far.",
        columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: every user with an interaction so far
        first_date DATE: day of the first interaction
        last_date DATE: day of the newest interaction
        events BIGINT: interactions so far
        items BIGINT: different items so far
    """),
        key=("user_id",),
    )
)
ITEM_TOTALS = declare(
    Table(
        "tiles",
        "item_totals",
        "One row per item and day: running totals of all interactions so far.",
        columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: every item with an interaction so far
        first_date DATE: day of the first interaction
        last_date DATE: day of the newest interaction
        events BIGINT: interactions so far
    """),
        key=("item_id",),
    )
)
USER_LOCATIONS = declare(
    Table(
        "tiles",
        "user_locations",
        "One row per user, location and day: running number of interactions.",
        columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: user
        location VARCHAR: location of an interaction
        events BIGINT: interactions there so far
    """),
        key=("user_id", "location"),
    )
)
ITEM_QUANTITIES = declare(
    Table(
        "tiles",
        "item_quantities",
        "One row per item, quantity and day: lines of demand within demand.history_days.",
        columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: item
        quantity DOUBLE: units of a line
        lines BIGINT: number of such lines
    """),
        key=("item_id", "quantity"),
    )
)
LARGEST_QUANTITIES = declare(
    Table(
        "tiles",
        "largest_quantities",
        "One row per item in spans of a day or of a whole month: its largest line of demand.",
        columns("""
        date DATE: last day of the span
        span VARCHAR: day, or month where the span is a calendar month
        item_id VARCHAR: every item with a line of demand in the span
        quantity DOUBLE: units of the largest line
    """),
        key=("item_id",),
        parts=("span",),
    )
)
DAILY_SALES = declare(
    Table(
        "tiles",
        "daily_sales",
        "One row per demand series and day, in spans of a day or of a whole month.",
        columns("""
        date DATE: last day of the span
        span VARCHAR: day, or month where the span is a calendar month
        day DATE: day of the sales
        level VARCHAR: item, item_location or category
        item_id VARCHAR: item, or category:<name> for the total of a category
        location VARCHAR: shop, or all where units are summed over shops
        category VARCHAR: category of the item, or unknown
        units DOUBLE: units, less returns, at least 0; lines are capped by demand.outlier_factor
        price DOUBLE: price paid per unit; null if not known
    """),
        key=("level", "item_id", "location", "day"),
        parts=("span",),
    )
)
SEQUENCE_STATES = declare(
    Table(
        "tiles",
        "sequence_states",
        "One row per user and day: the state of the recommender's network after the user's items.",
        columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: user with recommendations; none where the model has no network
        model_version VARCHAR: model of the network
        state_digest BIGINT: hash of the network, the items that it read, their order and strengths
        state FLOAT[]: the state, by which similar users can be found
    """),
        key=("user_id",),
    )
)
