"""Which columns may identify a user or an item, or have a text of a user: previews mask them.

An id is a text that every store can hold and index.
"""

from __future__ import annotations

import re
import unicodedata

from batch_predictions.tables.base import Column

PLAIN_TEXTS = frozenset(
    {
        *(
            "age_bracket",
            "asset",
            "brand",
            "bucket",
            "candidate",
            "category",
            "column_name",
            "decision",
            "direction",
            "display",
        ),
        *(
            "user_location",
            "event_type",
            "forecast_version",
            "gender",
            "kind",
            "label",
            "language",
            "level",
        ),
        *("location", "mailer", "method", "metric", "model", "model_version", "not_scored"),
        "user_location",
        *("period", "segment_level", "sentiment", "settings", "source", "span", "statistic"),
        "subcategory",
        *("partition_key", "table_name", "why"),
    }
)
"""Columns of text whose values are those of many rows: kinds, versions, names of models."""
_ID = re.compile(r"(?:.*_)?(?:ids?|key|row)")
_TEXT = re.compile(r"VARCHAR|JSON|MAP|STRUCT|BLOB")


def is_identifying(column: Column) -> bool:
    """Whether the values of a column may identify a user or an item, or be a text of a user.

    Columns that plugins declare are masked if they have text, or are named as ids are.
    """
    if column.name in PLAIN_TEXTS:
        return False
    return bool(_ID.fullmatch(column.name) or _TEXT.match(column.type))


MAX_ID_BYTES = 512
"""Longest id in UTF-8. Several ids are one key of the serving store, and PostgreSQL indexes keys of
up to 2,700 bytes."""


def id_problem(text: str) -> str | None:
    """Says why an id is refused and how to correct it; None for a valid one."""
    if any(unicodedata.category(character) == "Cc" for character in text):
        return "has a control character (such as a zero byte or a line break): remove it"
    if len(text.encode(errors="replace")) > MAX_ID_BYTES:
        return f"is longer than {MAX_ID_BYTES} bytes: give a shorter id, such as a hash of it"
    return None


def visible_text(text: str) -> str:
    """The start of a text for messages, with `?` in place of control characters."""
    start = text[:60] + ("…" if len(text) > 60 else "")
    return "".join("?" if unicodedata.category(c) == "Cc" else c for c in start)
