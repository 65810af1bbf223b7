"""Raw tables: the rows of a source, validated."""

from __future__ import annotations

from batch_predictions.tables.base import Table, columns, declare

INTERACTIONS = declare(
    Table(
        "raw",
        "interactions",
        "One row per event of a user with an item: purchase, view, rating.",
        columns("""
        date DATE: business day in the source's time zone
        event_id VARCHAR: id of the event, from the source or a hash of its content
        user_id VARCHAR: user
        item_id VARCHAR: item
        event_type VARCHAR: type of source.events, else as the source has it
        quantity DOUBLE: units; negative for a return
        amount DOUBLE: paid for the whole line, not per unit; negative for a return; or the rating
        location VARCHAR: shop, site or region
        occurred_at TIMESTAMP: time in UTC; null if the source has none
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
        user_id VARCHAR: user
        signed_up_on DATE: day of sign-up
        age_bracket VARCHAR: under 19, 19-24, 25-34, 35-44, 45-54, 55-64 or 65+
        gender VARCHAR: as the source gives it
        location VARCHAR: region, city or home shop
        attributes MAP(VARCHAR, VARCHAR): further columns of the source
    """),
        key=("user_id",),
        partition=None,
    )
)
USER_ALIASES = declare(
    Table(
        "raw",
        "user_aliases",
        "One row per id that a user had before a merge, with the present one: the newest snapshot.",
        columns("""
        alias VARCHAR: id that the user had; raw tables have no rows under it
        user_id VARCHAR: id that the user has now, also after several merges
    """),
        key=("alias",),
        partition=None,
    )
)
ITEMS = declare(
    Table(
        "raw",
        "items",
        "One row per item: the newest snapshot.",
        columns("""
        item_id VARCHAR: item
        title VARCHAR: title
        category VARCHAR: category
        subcategory VARCHAR: subcategory
        brand VARCHAR: brand
        price DOUBLE: list price
        available BOOLEAN: whether it may be recommended; null means true
        attributes MAP(VARCHAR, VARCHAR): further columns of the source
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
        user_id VARCHAR: author
        item_id VARCHAR: reviewed item
        rating DOUBLE: stars, 1 to 5
        text VARCHAR: the review
        written_at TIMESTAMP: time in UTC
        label VARCHAR: negative, neutral or positive, as labelled by a person
        language VARCHAR: language of the text, ISO 639-1
        simulated BOOLEAN: whether it was simulated for the demo
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
        campaign_id VARCHAR: campaign
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
        campaign_id VARCHAR: campaign
        user_id VARCHAR: user
        item_id VARCHAR: item; null if not known
        event_type VARCHAR: targeted, redeemed or listed
    """),
    )
)
PROMOTION_CALENDAR = declare(
    Table(
        "raw",
        "promotion_calendar",
        "One row per week, item and location with a promotion in that week, known in advance.",
        columns("""
        week DATE: Monday of a week in which the promotion is in force
        item_id VARCHAR: item that is promoted
        location VARCHAR: shop, or all if the source does not distinguish shops
        starts_on DATE: first day of the promotion, possibly in an earlier week
        ends_on DATE: last day, possibly in a later week
        display VARCHAR: kind of display in the shop; null: none
        mailer VARCHAR: kind of advertisement in the mailer; null: none
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
        date DATE: business day; counted at its end
        item_id VARCHAR: item
        location VARCHAR: shop or warehouse, or all if the source does not distinguish them
        on_hand DOUBLE: units in stock; negative if more was sold than recorded
        on_order DOUBLE: units ordered and not yet received; null counts as 0
        simulated BOOLEAN: whether it was simulated for the demo
    """),
        key=("item_id", "location"),
    )
)
FEEDBACK = declare(
    Table(
        "raw",
        "feedback",
        "One row per event with an item of a served list, as applications report it.",
        columns("""
        date DATE: business day in which it occurred, in the source's time zone
        event_id VARCHAR: id that the application gave it
        event_type VARCHAR: impression, click or purchase
        user_id VARCHAR: user
        item_id VARCHAR: item
        recommendation_id VARCHAR: answer with the item; null: not reported
        release_id VARCHAR: release of the answer; null: not known
        source VARCHAR: list of the item: personal, demographic or popular; null: not reported
        rank BIGINT: position at which the item was shown, 1 is the first; null: not reported
        bucket VARCHAR: bucket of an experiment; null: none
        occurred_at TIMESTAMP: time in UTC
    """),
        key=("event_id",),
        order=("user_id", "item_id", "event_id"),
    )
)
QUARANTINE = declare(
    Table(
        "raw",
        "quarantine",
        "One row per refused row of a source, with the reason.",
        columns("""
        date DATE: business day or week of the row, or the day of the ingest if it has none
        table_name VARCHAR: raw table that refused it
        source VARCHAR: file or relation
        row_number BIGINT: row in it; 1 is the first data row
        reason VARCHAR: what is wrong, and what to do
        row JSON: the row, unchanged
    """),
        parts=("table_name",),
    )
)


def user_columns(table: Table) -> tuple[str, ...]:
    """The columns of a table whose values are ids of users."""
    names = ("user_id", "alias") if table == USER_ALIASES else ("user_id",)
    return tuple(column.name for column in table.columns if column.name in names)


EVENT_TABLES = (INTERACTIONS, REVIEWS)
"""What happened, by day: a source has at least one of them, and use cases need one or the other."""
