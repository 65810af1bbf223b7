"""Guesses which raw table a file belongs to, from its name and its columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

NAME_HINTS: dict[str, tuple[str, ...]] = {
    "interactions": ("order", "sale", "transaction", "event", "click", "purchase", "basket", "bon"),
    "users": ("customer", "user", "member", "kunde", "client"),
    "items": ("product", "item", "article", "artikel", "catalog", "sku"),
    "reviews": ("review", "feedback", "bewertung", "comment"),
    "inventory": ("stock", "inventory", "bestand"),
}
"""Parts of file names."""
COLUMN_HINTS: dict[str, dict[str, tuple[str, ...]]] = {
    "interactions": {
        "user_id": (
            "user_id",
            "customer_id",
            "user",
            "customer",
            "customer_email",
            "email",
            "client_id",
            "visitor_id",
            "member_id",
            "uid",
            "kundennummer",
            "kunde",
        ),
        "item_id": (
            "item_id",
            "product_id",
            "lineitem_sku",
            "variant_sku",
            "sku",
            "product",
            "item",
            "article_id",
            "article",
            "artikelnummer",
            "artikel",
            "asin",
            "ean",
        ),
        "event_type": ("event_type", "event_name", "event", "action"),
        "quantity": ("quantity", "lineitem_quantity", "qty", "units", "menge", "anzahl"),
        "amount": ("amount", "line_total", "lineitem_total", "line_amount", "revenue", "umsatz"),
        "unit_price": ("lineitem_price", "unit_price", "price", "preis", "einzelpreis"),
        "status": ("financial_status", "order_status", "payment_status", "status"),
        "occurred_at": (
            "occurred_at",
            "created_at",
            "ts",
            "timestamp",
            "event_time",
            "paid_at",
            "order_date",
            "ordered_at",
            "datetime",
            "time",
            "date",
            "datum",
            "bestelldatum",
        ),
    },
    "users": {
        "user_id": (
            "user_id",
            "customer_id",
            "id",
            "email",
            "customer_email",
            "kundennummer",
            "uid",
        ),
        "birthday": ("birthday", "birth_date", "birthdate", "date_of_birth", "dob", "geburtsdatum"),
        "age_bracket": ("age_bracket", "age", "age_group", "alter"),
        "gender": ("gender", "sex", "anrede", "salutation", "geschlecht"),
        "location": ("city", "region", "location", "ort", "stadt", "state", "province", "country"),
        "signed_up_on": (
            "signed_up_on",
            "signup_date",
            "registered_on",
            "created_at",
            "kunde_seit",
        ),
    },
    "items": {
        "item_id": (
            "item_id",
            "product_id",
            "variant_sku",
            "sku",
            "id",
            "handle",
            "artikelnummer",
            "asin",
        ),
        "title": ("title", "name", "product_name", "bezeichnung", "titel"),
        "category": ("category", "product_type", "type", "kategorie", "department", "warengruppe"),
        "brand": ("brand", "vendor", "manufacturer", "marke", "hersteller"),
        "price": ("price", "variant_price", "list_price", "preis"),
        "available": ("available", "status", "active", "published", "in_stock"),
    },
    "reviews": {
        "item_id": ("item_id", "product_id", "product", "app", "app_id", "sku", "item", "asin"),
        "user_id": ("user_id", "author", "user", "reviewer", "reviewer_id", "customer"),
        "rating": ("rating", "stars", "score", "sterne", "overall"),
        "text": ("text", "body", "review", "review_text", "content", "comment", "kommentar"),
        "headline": ("headline", "title", "subject", "summary"),
        "written_at": (
            "written_at",
            "date",
            "at",
            "created_at",
            "submitted_at",
            "updated",
            "timestamp",
            "time",
            "datum",
        ),
        "language": ("language", "lang", "locale", "sprache"),
        "review_id": ("review_id", "id"),
    },
    "inventory": {
        "item_id": ("item_id", "product_id", "sku", "artikelnummer"),
        "on_hand": ("on_hand", "stock", "quantity", "available", "bestand"),
        "date": ("date", "day", "counted_on", "datum"),
        "location": ("location", "warehouse", "store", "shop", "lager"),
    },
}
"""By raw table and column, names of columns in lower case with underscores, the likeliest first.

`unit_price` and `status` are no columns of raw.interactions: they ask for a query or a condition.
"""
REQUIRED: dict[str, tuple[tuple[str, ...], ...]] = {
    "interactions": (("user_id",), ("item_id",), ("occurred_at",)),
    "users": (("user_id",), ("birthday", "age_bracket", "gender", "location", "signed_up_on")),
    "items": (("item_id",), ("title", "price")),
    "reviews": (("text",), ("rating", "headline", "written_at"), ("item_id",)),
    "inventory": (("item_id",), ("on_hand",)),
}
"""Of each group of columns, a file of the table has at least one."""


@dataclass(frozen=True)
class FileGuess:
    """The raw table that a file probably belongs to, and the columns that match.

    Attributes:
        table: the raw table.
        columns: column of the table, or `unit_price` or `status`, to column of the file.
    """

    table: str
    columns: Mapping[str, str]


def guess_table(name: str, file_columns: Collection[str]) -> FileGuess | None:
    """The raw table of a file; None if it fits none.

    Args:
        name: of the file, with its folders.
        file_columns: names of its columns.
    """
    best: tuple[float, FileGuess] | None = None
    for table in COLUMN_HINTS:
        columns = _match(table, file_columns)
        if not all(any(column in columns for column in group) for group in REQUIRED[table]):
            continue
        hint = any(part in name.lower() for part in NAME_HINTS[table])
        score = 3.0 * hint + len(REQUIRED[table]) + 0.1 * len(columns)
        if best is None or score > best[0]:
            best = score, FileGuess(table, columns)
    return best[1] if best else None


def _match(table: str, file_columns: Collection[str]) -> dict[str, str]:
    """Column of the table to column of the file, each file column once, the likeliest first."""
    by_name: dict[str, str] = {}
    for column in file_columns:
        by_name.setdefault(normalise_name(column), column)
    matches: dict[str, str] = {}
    for column, names in COLUMN_HINTS[table].items():
        for name in names:
            if name in by_name and by_name[name] not in matches.values():
                matches[column] = by_name[name]
                break
    return matches


def normalise_name(column: str) -> str:
    """A column's name in lower case, with underscores in place of other signs."""
    return re.sub(r"[^0-9a-zäöüß]+", "_", column.strip().lower()).strip("_")


def pattern_of(names: Collection[str]) -> str:
    """A pattern for the files of one kind: digits and values of folders become `*`."""
    patterns = {_generalise(name) for name in names} if len(names) > 1 else {*names}
    return sorted(patterns, key=lambda pattern: (len(pattern), pattern))[0]


def _generalise(name: str) -> str:
    parts = [re.sub(r"=.*", "=*", part) if "=" in part else part for part in name.split("/")]
    parts[-1] = re.sub(r"\d+(?:[-_:T.]\d+)*(?=.*\.)", "*", parts[-1])
    return re.sub(r"\*+", "*", "/".join(parts))
