"""Where rows come from, and the query engine that reads them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from pydantic import Field

from batch_predictions.settings.section import Section


class SourceSettings(Section):
    """Where raw days come from."""

    kind: str = Field(
        "complete_journey",
        description="Adapter to read with: complete_journey, files, movielens, or a module of "
        "your own in batch_predictions/sources.",
    )
    path: Path | None = Field(None, description="Folder of the source (files, movielens).")
    timezone: str | None = Field(
        None,
        description="Time zone of the business day, such as Europe/Berlin. Empty: the adapter's "
        "own (complete_journey: America/New_York; otherwise UTC).",
    )
    default_date: dt.date | None = Field(
        None,
        description="Day of rows that carry no time. Empty: the last Sunday before the first run; "
        "then fixed in <home>/state.yaml.",
    )
    original_dates: bool = Field(
        False, description="complete_journey: the year 2017 as it was, instead of replayed."
    )
    columns: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="files: for each table, contract column: column of yours, such as "
        "{interactions: {user_id: customer, item_id: sku, occurred_at: ts}}.",
    )
    earliest: dt.date = Field(
        dt.date(1990, 1, 1), description="Rows dated before this day are refused as implausible."
    )
    exclude_items: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Items that are not goods to recommend, by column of raw.items and values, "
        "such as {category: [FUEL]}. Empty: the adapter's own list.",
    )


class DuckDBSettings(Section):
    """The query engine's bounds on this machine."""

    memory_limit: str = Field("2GB", description="Memory DuckDB may use; beyond it spills to disk.")
    threads: int = Field(2, ge=1, description="Threads of one query.")
