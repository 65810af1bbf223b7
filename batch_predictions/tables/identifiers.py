"""Which columns may identify a user or an item, or have a text of a user: previews mask them."""

from __future__ import annotations

import re

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
        *("event_type", "forecast_version", "gender", "kind", "label", "language", "level"),
        *("location", "mailer", "method", "metric", "model", "model_version", "not_scored"),
        *("segment_level", "sentiment", "source", "span", "statistic", "subcategory"),
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
