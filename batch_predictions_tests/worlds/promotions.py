"""Promotions of the weeks of March 2024."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa

from batch_predictions.tables import PROMOTION_CALENDAR
from batch_predictions.warehouse import Warehouse

WEEKS = [dt.date(2024, 3, 4) + dt.timedelta(days=7 * n) for n in range(4)]
Promotion = tuple[str, str, str, str, str | None, str | None]
"""Item, location, first and last day in March 2024, display, mailer."""


def write_march_promotions(warehouse: Warehouse, *promotions: Promotion) -> None:
    """Writes every promotion to each of its weeks; other weeks of March are empty."""
    names = ("item_id", "location", "starts_on", "ends_on", "display", "mailer")
    schema = pa.schema(
        [(name, pa.date32() if name.endswith("_on") else pa.string()) for name in names]
    )
    for week in WEEKS:
        rows = []
        for item, location, starts, ends, *placements in promotions:
            first, last = (dt.date.fromisoformat(f"2024-03-{day}") for day in (starts, ends))
            if first <= week + dt.timedelta(days=6) and last >= week:
                row = (item, location, first, last, *placements)
                rows.append(dict(zip(names, row, strict=True)))
        warehouse.replace_partition(
            PROMOTION_CALENDAR, week.isoformat(), pa.Table.from_pylist(rows, schema)
        )
