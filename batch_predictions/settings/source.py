"""The source of raw rows, and limits of the query engine."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from pydantic import Field

from batch_predictions.settings.section import Section


class SourceSettings(Section):
    """The source of raw rows."""

    kind: str = Field(
        "complete_journey",
        description="Adapter: complete_journey, files, movielens, amazon_reviews, "
        "simulated_reviews, or one of a plugin.",
    )
    path: Path | None = Field(None, description="Folder of the source (files, movielens).")
    timezone: str | None = Field(
        None,
        description="Time zone of the business day, such as Europe/Berlin. Empty: that of "
        "the adapter (complete_journey: America/New_York; otherwise UTC).",
    )
    default_date: dt.date | None = Field(
        None,
        description="Day of rows without a time. Empty: the last Sunday before the first run, kept "
        "in <home>/state.yaml.",
    )
    original_dates: bool = Field(
        False, description="complete_journey: the original dates in 2017 instead of replayed ones."
    )
    columns: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="files: by table, the platform's column: your column, such as "
        "{interactions: {user_id: customer, item_id: sku, occurred_at: ts}}.",
    )
    earliest: dt.date = Field(
        dt.date(1990, 1, 1), description="Rows dated before this day are refused as implausible."
    )
    exclude_items: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Items that are never recommended, by column of raw.items and values, such as "
        "{category: [FUEL]}. Empty: as the adapter says.",
    )


class DuckDBSettings(Section):
    """Limits of the query engine on this machine."""

    memory_limit: str = Field("2GB", description="Memory of DuckDB; beyond it, it spills to disk.")
    threads: int = Field(2, ge=1, description="Threads of one query.")
