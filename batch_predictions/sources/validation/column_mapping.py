"""Maps the columns of a file to those of a raw table: by settings, equal names or synonyms."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from batch_predictions.sources.base import SourceError, raw_table
from batch_predictions.tables import Table

REQUIRED_COLUMNS: dict[str, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id"),
    "user_aliases": ("alias", "user_id"),
    "users": ("user_id",),
    "items": ("item_id",),
    "reviews": ("item_id", "text"),
    "promotions": ("campaign_id", "item_id"),
    "campaign_events": ("campaign_id", "user_id", "event_type"),
    "promotion_calendar": ("item_id", "starts_on", "ends_on"),
    "inventory": ("item_id", "on_hand"),
    "feedback": ("event_id", "event_type", "user_id", "item_id", "occurred_at"),
}
"""Columns that a table must have."""

HEADLINE = "headline"
BIRTHDAY = "birthday"
EXTRA_COLUMNS: dict[str, tuple[str, ...]] = {"reviews": (HEADLINE,), "users": (BIRTHDAY,)}
"""Columns of a file that raw tables do not have: the title of a review is put before its text, and
the birthday of a user gives the age bracket."""
EXTRA_DATE_COLUMNS: dict[str, tuple[str, ...]] = {"users": (BIRTHDAY,)}
"""Those of them that are dates."""

COLUMNS_IMPLIED_BY_WEEK = ("starts_on", "ends_on")
"""Columns that a table with a column `week` does not need: they are its Monday and Sunday."""

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
    BIRTHDAY: ("birth_date", "birthdate", "date_of_birth", "dob"),
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
"""Names of a column in files; used if the column is not mapped and only one of them exists."""
_NAMES_IN_TABLES: dict[tuple[str, str], tuple[str, ...]] = {
    ("user_aliases", "alias"): (
        *("old_id", "old_user_id", "old_customer_id", "merged_from", "from_id", "previous_id"),
    ),
    ("user_aliases", "user_id"): (
        *SYNONYMS["user_id"],
        *("new_id", "new_user_id", "new_customer_id", "merged_into", "merged_to", "into_id"),
    ),
}
"""Names that mean the column in files of one table only."""

EVENT_IDS = {"interactions": "event_id", "reviews": "review_id"}
"""Ids of events, made from the row where the source has none."""
TIME_COLUMNS = {"interactions": "occurred_at", "reviews": "written_at"}
"""The timestamp of a daily table; it gives the business day of rows without a column `date`."""


def validate_mapping(mapping: Mapping[str, Mapping[str, str]]) -> None:
    """Refuses keys of `source.columns` that are no raw table or no column of it.

    Raises:
        SourceError: a key is unknown; the message lists the known ones.
    """
    for name, columns in mapping.items():
        mappable = _mappable_columns(raw_table(name, "source.columns"))
        for column in columns:
            if column not in mappable:
                raise SourceError(
                    f"source.columns.{name}.{column}: there is no column of raw.{name} with that "
                    f"name; write one of {', '.join(mappable)}"
                )


def match_columns(
    table: Table, file_columns: Collection[str], mapping: Mapping[str, str], file_name: str
) -> dict[str, str]:
    """Column of the raw table to column of the file.

    Of columns that are not mapped, the one with an equal name (ignoring case) is taken, else the
    only synonym that the file has and no other column uses.

    Args:
        table: the raw table.
        file_columns: columns of the file.
        mapping: the table's part of `source.columns`.
        file_name: name of the file, for messages.

    Raises:
        SourceError: a required or mapped column is missing, or a column has several candidates.
    """
    setting = f"source.columns.{table.name}"
    for column, file_column in mapping.items():
        if file_column not in file_columns:
            raise SourceError(
                f"{file_name} has no column {file_column!r}, which {setting}.{column} names; its "
                f"columns are {', '.join(file_columns)}"
            )
    matches = dict(mapping)
    by_lower_case: dict[str, list[str]] = {}
    for file_column in file_columns:
        by_lower_case.setdefault(file_column.strip().lower(), []).append(file_column)

    def unused_columns(*names: str) -> list[str]:
        columns = [column for name in names for column in by_lower_case.get(name, [])]
        return [column for column in columns if column not in matches.values()]

    unmapped = [column for column in _mappable_columns(table) if column not in matches]
    for column in unmapped:
        candidates = unused_columns(column)
        if len(candidates) == 1:
            matches[column] = candidates[0]
    timestamp = TIME_COLUMNS.get(table.name)
    for column in unmapped:
        # If the file has a day, a column such as `time` may be a time of day.
        has_day = bool({"date", timestamp} & set(matches))
        if column in matches or (column in ("date", timestamp) and has_day):
            continue
        names = _NAMES_IN_TABLES.get((table.name, column), SYNONYMS.get(column, ()))
        candidates = unused_columns(*names)
        if len(candidates) > 1 and column in (*REQUIRED_COLUMNS[table.name], timestamp):
            raise SourceError(
                f"{file_name}: {' and '.join(candidates)} could each be {column}: set "
                f"{setting}.{column} to one of them"
            )
        if len(candidates) == 1:
            matches[column] = candidates[0]
    _require_columns(table, file_columns, matches, file_name)
    return matches


def is_guessed_id(table: Table, matches: Mapping[str, str], mapping: Mapping[str, str]) -> bool:
    """Returns whether only a synonym says that a column is the id of events.

    A column such as `transaction_id` may be the number of an order, which has several rows.

    Args:
        table: the raw table.
        matches: column of the raw table to column of the file.
        mapping: the part of `matches` that settings say.
    """
    name = EVENT_IDS.get(table.name, "")
    return name in matches and name not in mapping and matches[name].strip().lower() != name


def _require_columns(
    table: Table, file_columns: Collection[str], matches: Mapping[str, str], file_name: str
) -> None:
    """Raises SourceError if a required column has no match."""
    setting = f"source.columns.{table.name}"
    for column in REQUIRED_COLUMNS[table.name]:
        is_implied = "week" in matches and column in COLUMNS_IMPLIED_BY_WEEK
        if column not in matches and not is_implied:
            alternative = (
                f", or name a week with {setting}.week" if table.partition == "week" else ""
            )
            raise SourceError(
                f"{file_name} has no column for {column}; its columns are "
                f"{', '.join(file_columns)}. Name the column with {setting}.{column}{alternative}"
            )


def _mappable_columns(table: Table) -> list[str]:
    declared = [column.name for column in table.columns if column.name != "simulated"]
    return [*declared, *EXTRA_COLUMNS.get(table.name, ())]
