"""Feature tables: the state of users, items and demand as of the end of a day."""

from __future__ import annotations

from batch_predictions.tables.base import Table, columns, declare

USER_ACTIVITY = declare(
    Table(
        "features",
        "user_activity",
        "One row per user and day: recency, frequency and spend over 7, 28 and 84 days.",
        columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: every user with an interaction so far
        first_date DATE: day of the first interaction
        last_date DATE: day of the newest interaction
        days_inactive BIGINT: days since the newest interaction
        events BIGINT: interactions so far
        items BIGINT: different items so far
        active_days_7d BIGINT: days with an interaction in the last 7
        active_days_28d BIGINT: days with an interaction in the last 28
        active_days_84d BIGINT: days with an interaction in the last 84
        events_7d BIGINT: interactions in the last 7 days
        events_28d BIGINT: interactions in the last 28 days
        events_84d BIGINT: interactions in the last 84 days
        spend_7d DOUBLE: amount of purchases in the last 7 days, less returns
        spend_28d DOUBLE: amount of purchases in the last 28 days, less returns
        spend_84d DOUBLE: amount of purchases in the last 84 days, less returns
    """),
        key=("user_id",),
    )
)
ITEM_ACTIVITY = declare(
    Table(
        "features",
        "item_activity",
        "One row per item and day, for items with an interaction in the last 84 days.",
        columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: item
        last_date DATE: day of the newest interaction
        users_7d BIGINT: different users in the last 7 days
        users_28d BIGINT: different users in the last 28 days
        users_84d BIGINT: different users in the last 84 days
        events_7d BIGINT: interactions in the last 7 days
        events_28d BIGINT: interactions in the last 28 days
        events_84d BIGINT: interactions in the last 84 days
        quantity_28d DOUBLE: units bought in the last 28 days, less returns
        amount_28d DOUBLE: amount of purchases in the last 28 days, less returns
        buyers_28d BIGINT: different users with a target interaction in the last 28 days
        buyers_84d BIGINT: different users with a target interaction in the last 84 days
    """),
        key=("item_id",),
    )
)
USER_SEGMENTS = declare(
    Table(
        "features",
        "user_segments",
        "One row per user and day: the demographic segment as known on the day.",
        columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: every user who had signed up or interacted by then
        age_bracket VARCHAR: age bracket, or unknown
        gender VARCHAR: gender, or unknown
        location VARCHAR: of the user, else the most frequent one of its interactions, or unknown
    """),
        key=("user_id",),
    )
)
ITEM_STATE = declare(
    Table(
        "features",
        "item_state",
        "One row per item and day: price and availability as known on the day.",
        columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: every item listed or interacted with so far
        title VARCHAR: title, the id if there is none
        category VARCHAR: category, or unknown
        price DOUBLE: list price, else the median amount per unit in the last 28 days
        available BOOLEAN: whether it may be recommended
        is_excluded BOOLEAN: whether source.exclude_items excludes it
    """),
        key=("item_id",),
    )
)
ITEM_RULES = declare(
    Table(
        "features",
        "item_rules",
        "One row per day and item that recommendations.rules, or its lists of items, concern.",
        columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: the item
        is_blocked BOOLEAN: whether it is not recommended
        boost INTEGER: places by which it moves up in lists, down if negative
        groups VARCHAR[]: its group under each limit of items per list; null: not limited
    """),
        key=("item_id",),
    )
)
ITEM_SCORES = declare(
    Table(
        "features",
        "item_scores",
        "The best candidates of each user before business rules, for audiences.",
        columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: user
        item_id VARCHAR: candidate
        score DOUBLE: score of the model, comparable within a user
    """),
        key=("user_id", "item_id"),
    )
)
DEMAND = declare(
    Table(
        "features",
        "demand",
        "One row per demand series and day: its daily units so far, and promotions known ahead.",
        columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: item, or category:<name> for the total of a category
        location VARCHAR: shop, or all where units are summed over shops
        level VARCHAR: item, item_location or category
        category VARCHAR: category of the item, or unknown
        first_date DATE: day of the first sale in the history; the lists begin on it
        last_date DATE: day of the newest sale
        units_84d DOUBLE: units of the last 84 days, by which series are selected
        units DOUBLE[]: units of each day from first_date to date; 0 where nothing was sold
        prices DOUBLE[]: price paid per unit on each day; that of the last sale on days without one
        promotion DOUBLE[]: share of the item's units in shops that promote it; beyond date, too
        display DOUBLE[]: like promotion, for displays in the shop; null where not known
        mailer DOUBLE[]: like promotion, for the mailer
        lead_time_days DOUBLE: attribute of the item; null: the setting applies
        review_days DOUBLE: attribute of the item; null: the setting applies
        service_level DOUBLE: attribute of the item; null: the setting applies
        pack_size DOUBLE: attribute of the item; null: the setting applies
        min_order DOUBLE: attribute of the item; null: the setting applies
        holding_cost DOUBLE: attribute of the item; null: the setting applies
        lost_sale_cost DOUBLE: attribute of the item; null: the setting applies
    """),
        key=("item_id", "location"),
    )
)
