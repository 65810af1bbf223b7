"""Raw tables: a day of the source, as it was."""

from __future__ import annotations

from batch_predictions.tables.declaration import Table, columns, declare

INTERACTIONS = declare(
    Table(
        "raw",
        "interactions",
        "One row per event of a user with an item: purchase, view, rating.",
        columns("""
        date DATE: business day in the source's time zone
        event_id VARCHAR: id of the event, from the source or a hash of its content
        user_id VARCHAR: who
        item_id VARCHAR: with what
        event_type VARCHAR: purchase, view, rating, …
        quantity DOUBLE: units
        amount DOUBLE: money in the source's currency, or the rating
        location VARCHAR: shop, site or region
        occurred_at TIMESTAMP: moment, UTC; null where the source gives none
    """),
        key=("event_id",),
        order=("user_id", "item_id", "event_id"),
    )
)
USERS = declare(
    Table(
        "raw",
        "users",
        "One row per user: the newest snapshot.",
        columns("""
        user_id VARCHAR: who
        signed_up_on DATE: day of sign-up
        age_bracket VARCHAR: under 19, 19-24, 25-34, 35-44, 45-54, 55-64 or 65+
        gender VARCHAR: as the source gives it
        location VARCHAR: region, city or home shop
        attributes MAP(VARCHAR, VARCHAR): everything else that the source knows
    """),
        key=("user_id",),
        partition=None,
    )
)
ITEMS = declare(
    Table(
        "raw",
        "items",
        "One row per item: the newest snapshot.",
        columns("""
        item_id VARCHAR: which
        title VARCHAR: name for people
        category VARCHAR: coarse group
        subcategory VARCHAR: finer group
        brand VARCHAR: maker
        price DOUBLE: list price
        available BOOLEAN: false: not to be offered; null means available
        attributes MAP(VARCHAR, VARCHAR): everything else that the source knows
    """),
        key=("item_id",),
        partition=None,
    )
)
REVIEWS = declare(
    Table(
        "raw",
        "reviews",
        "One row per written review.",
        columns("""
        date DATE: business day
        review_id VARCHAR: id, from the source or a hash of its content
        user_id VARCHAR: who wrote it
        item_id VARCHAR: about what
        rating DOUBLE: stars, 1 to 5
        text VARCHAR: the review
        written_at TIMESTAMP: moment, UTC
        label VARCHAR: negative, neutral or positive, where a person said so
        language VARCHAR: language of the text, ISO 639-1
        simulated BOOLEAN: true: made up for the demo
    """),
        key=("review_id",),
    )
)
PROMOTIONS = declare(
    Table(
        "raw",
        "promotions",
        "One row per campaign and item: the newest snapshot.",
        columns("""
        campaign_id VARCHAR: which campaign
        kind VARCHAR: type of campaign
        item_id VARCHAR: item on offer
        starts_on DATE: first day
        ends_on DATE: last day
    """),
        key=("campaign_id", "item_id"),
        partition=None,
    )
)
CAMPAIGN_EVENTS = declare(
    Table(
        "raw",
        "campaign_events",
        "One row per event of a user in a campaign: targeted, redeemed or listed.",
        columns("""
        date DATE: business day
        campaign_id VARCHAR: which campaign
        user_id VARCHAR: who
        item_id VARCHAR: item, where one is known
        event_type VARCHAR: targeted, redeemed or listed
    """),
    )
)
PROMOTION_CALENDAR = declare(
    Table(
        "raw",
        "promotion_calendar",
        "One row per week, item and location with a promotion in that week; known ahead.",
        columns("""
        week DATE: Monday of a week in which the promotion is in force
        item_id VARCHAR: item that is promoted
        location VARCHAR: shop, or all where the source does not tell shops apart
        starts_on DATE: first day of the promotion, which may lie in an earlier week
        ends_on DATE: last day, which may lie in a later week
        display VARCHAR: kind of display in the shop, as the source gives it; null: none
        mailer VARCHAR: kind of place in the mailer, as the source gives it; null: none
    """),
        key=("item_id", "location"),
        partition="week",
        ahead=True,
    )
)
INVENTORY = declare(
    Table(
        "raw",
        "inventory",
        "One row per item, location and day: stock at the end of the day.",
        columns("""
        date DATE: business day at whose end it was counted
        item_id VARCHAR: which item
        location VARCHAR: shop or warehouse, or all where the source does not tell them apart
        on_hand DOUBLE: units in stock; negative where more was sold than the books held
        on_order DOUBLE: units ordered and not yet received; null counts as none
    """),
        key=("item_id", "location"),
    )
)
QUARANTINE = declare(
    Table(
        "raw",
        "quarantine",
        "One row per refused row of a source, with the reason.",
        columns("""
        date DATE: business day or week of the row, or the day of the ingest where it has none
        table_name VARCHAR: raw table that refused it
        source VARCHAR: file or relation it came from
        row_number BIGINT: its row there, 1 being the first of data
        reason VARCHAR: what is wrong and what to do
        row JSON: the row as it was read
    """),
        parts=("table_name",),
    )
)
