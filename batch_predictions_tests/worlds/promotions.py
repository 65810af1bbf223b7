"""Promotions of the weeks of March 2024."""

from __future__ import annotations

import datetime as dt

from batch_predictions.tables import PROMOTION_CALENDAR
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.table_rows import write_rows

WEEKS = [dt.date(2024, 3, 4) + dt.timedelta(days=7 * n) for n in range(4)]
Promotion = tuple[str, str, str, str, str | None, str | None]
"""Item, location, first and last day in March 2024, display, mailer."""


def write_march_promotions(warehouse: Warehouse, *promotions: Promotion) -> None:
    """Writes every promotion to each of its weeks; other weeks of March are empty."""
    names = ("week", "item_id", "location", "starts_on", "ends_on", "display", "mailer")
    for week in WEEKS:
        rows = []
        for item, location, starts, ends, *placements in promotions:
            first, last = (dt.date.fromisoformat(f"2024-03-{day}") for day in (starts, ends))
            if first <= week + dt.timedelta(days=6) and last >= week:
                row = (week, item, location, first, last, *placements)
                rows.append(dict(zip(names, row, strict=True)))
        write_rows(warehouse, PROMOTION_CALENDAR, rows, week)
