"""The features by direct SQL over all raw days, as a reference for what is computed from tiles."""

from __future__ import annotations

import re
from pathlib import Path

from batch_predictions.features.sql import queries

FOLDER = Path(__file__).parents[1] / "features" / "direct_sql"
_CONDITION = re.compile(r"\{(is_purchase|is_counted) (\w+)\}")


def direct_sql(name: str) -> str:
    """The query in `batch_predictions_tests/features/direct_sql/<name>.sql`."""
    text = (FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    text = text.replace("{is_excluded}", queries.IS_EXCLUDED)
    return _CONDITION.sub(lambda match: getattr(queries, match[1])(match[2]), text)
