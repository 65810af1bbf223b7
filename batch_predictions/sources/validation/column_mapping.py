"""Which column of a file is which column of the contract: settings, equal names, synonyms."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from batch_predictions.sources.base import RAW, SourceError
from batch_predictions.tables import Table

REQUIRED: dict[str, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id"),
    "users": ("user_id",),
    "items": ("item_id",),
    "reviews": ("item_id", "text"),
    "promotions": ("campaign_id", "item_id"),
    "campaign_events": ("campaign_id", "user_id", "event_type"),
    "promotion_calendar": ("item_id", "starts_on", "ends_on"),
    "inventory": ("item_id", "on_hand"),
}
"""Columns that a table cannot do without."""

HEADLINE = "headline"
BESIDE: dict[str, tuple[str, ...]] = {"reviews": (HEADLINE,)}
"""What a file may have beside the contract: the title of a review, put before its text."""

IN_WEEK = ("starts_on", "ends_on")
"""Columns that a table with a column `week` can do without: the week's Monday and Sunday."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "user_id": ("user", "userid", "customer_id", "customer", "customerid", "household_id"),
    "item_id": ("item", "itemid", "product_id", "product", "productid", "sku", "article_id"),
    "event_id": ("transaction_id", "order_line_id"),
    "event_type": ("event", "action"),
    "quantity": ("qty", "units"),
    "amount": ("sales_value", "revenue", "rating", "total"),
    "location": ("store_id", "store", "shop", "region", "city"),
    "occurred_at": ("timestamp", "datetime", "time", "ts", "event_time", "created_at"),
    "date": ("day",),
    "signed_up_on": ("signup_date", "sign_up_date", "registered_on", "joined_on"),
    "age_bracket": ("age", "age_group"),
    "gender": ("sex",),
    "title": ("name", "item_name", "product_name", "movie_title"),
    "category": ("department", "category_name"),
    "subcategory": ("sub_category",),
    "brand": ("brand_name", "manufacturer"),
    "price": ("list_price", "unit_price"),
    "available": ("in_stock", "is_available"),
    "review_id": ("id",),
    "rating": ("stars", "score"),
    "text": ("review_text", "review", "body", "verified_reviews"),
    HEADLINE: ("title", "summary", "review_title", "subject"),
    "written_at": ("timestamp", "datetime", "time", "ts", "created_at", "reviewed_at"),
    "label": ("sentiment",),
    "language": ("lang",),
    "campaign_id": ("campaign", "promotion_id"),
    "kind": ("type", "campaign_type"),
    "starts_on": ("start_date", "valid_from"),
    "ends_on": ("end_date", "valid_to"),
    "week": ("week_start", "week_of"),
    "display": ("display_location", "on_display"),
    "mailer": ("mailer_location", "in_mailer"),
    "on_hand": ("stock", "stock_on_hand", "in_stock_units", "quantity_on_hand"),
    "on_order": ("ordered", "incoming", "quantity_on_order"),
}
"""Names taken for a contract column that is neither mapped nor there, where only one fits."""

MOMENTS = {"interactions": "occurred_at", "reviews": "written_at"}
"""The moment of a daily table, from which its business day is read unless `date` is there."""


def check_mapping(mapping: Mapping[str, Mapping[str, str]]) -> None:
    """Refuses keys of `source.columns` that name no table or column of the contract.

    Raises:
        SourceError: a key is unknown; the message lists those there are.
    """
    known = {table.name: table for table in RAW}
    for name, columns in mapping.items():
        if name not in known:
            raise SourceError(
                f"source.columns.{name} names no table: there are {', '.join(sorted(known))}"
            )
        there = _mappable(known[name])
        for column in columns:
            if column not in there:
                raise SourceError(
                    f"source.columns.{name}.{column} names no column of raw.{name}: there are "
                    f"{', '.join(there)}"
                )


def match_columns(
    table: Table, present: Collection[str], mapping: Mapping[str, str], name: str
) -> dict[str, str]:
    """Contract column to column of the file.

    A mapped column must be there. Otherwise an equal name, whatever its case, is taken, else the
    only synonym that is there and not taken already.

    Args:
        table: the raw table.
        present: columns of the file.
        mapping: the table's part of `source.columns`.
        name: the file, for messages.

    Raises:
        SourceError: a required or mapped column is missing, or several could be meant.
    """
    shown = ", ".join(present)
    key = f"source.columns.{table.name}"
    for column, source in mapping.items():
        if source not in present:
            raise SourceError(
                f"{name} has no column {source!r}, which {key}.{column} names; it has: {shown}"
            )
    found = dict(mapping)
    folded: dict[str, list[str]] = {}
    for each in present:
        folded.setdefault(each.strip().lower(), []).append(each)
    wanted = [column for column in _mappable(table) if column not in found]
    for column in wanted:
        fits = [each for each in folded.get(column, []) if each not in found.values()]
        if len(fits) == 1:
            found[column] = fits[0]
    moment = MOMENTS.get(table.name)
    for column in wanted:
        # A day that is there is enough: a `time` beside it may be a time of day.
        if column in found or (column in ("date", moment) and {"date", moment} & set(found)):
            continue
        fits = [
            each
            for synonym in SYNONYMS.get(column, ())
            for each in folded.get(synonym, [])
            if each not in found.values()
        ]
        if len(fits) > 1 and column in (*REQUIRED[table.name], moment):
            raise SourceError(
                f"{name}: {' and '.join(fits)} could each be {column}: say which with "
                f"{key}.{column}"
            )
        if len(fits) == 1:
            found[column] = fits[0]
    for column in REQUIRED[table.name]:
        if column not in found and not ("week" in found and column in IN_WEEK):
            instead = f", or name a week with {key}.week" if table.partition == "week" else ""
            raise SourceError(
                f"{name} has no column for {column}; it has: {shown}. Say which one it is with "
                f"{key}.{column}{instead}"
            )
    return found


def _mappable(table: Table) -> list[str]:
    own = [column.name for column in table.columns if column.name != "simulated"]
    return [*own, *BESIDE.get(table.name, ())]
