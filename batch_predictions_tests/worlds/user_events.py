"""Events of users, from which a release makes their histories."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from batch_predictions.serving.release.context_tables import ContextChoice
from batch_predictions.tables import INTERACTIONS
from batch_predictions_tests.worlds.serving import DAY, ServingWorld
from batch_predictions_tests.worlds.table_rows import write_rows

HISTORY = ContextChoice(history_items=3, history_days=7, event_types=("purchase", "view", "return"))
Event = tuple[dt.date, str, str, str, float | None, int | None]
"""Day, user, item, type, quantity, hour."""


def write_events(world: ServingWorld, events: Iterable[Event]) -> None:
    """Replaces the days of raw.interactions that have events."""
    rows = []
    for number, (day, user, item, type_, quantity, hour) in enumerate(events):
        at = None if hour is None else dt.datetime.combine(day, dt.time(hour))
        row = {"date": day, "event_id": f"e{number}", "user_id": user, "item_id": item}
        rows.append({**row, "event_type": type_, "quantity": quantity, "occurred_at": at})
    write_rows(world.warehouse, INTERACTIONS, rows)


def ago(days: int) -> dt.date:
    return DAY - dt.timedelta(days=days)
