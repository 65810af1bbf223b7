"""Events of users, from which a release makes their histories."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from batch_predictions.serving.release.context_tables import ContextChoice
from batch_predictions_tests.worlds import table_rows
from batch_predictions_tests.worlds.serving import DAY, ServingWorld

HISTORY = ContextChoice(history_items=3, history_days=7, event_types=("purchase", "view", "return"))
Event = tuple[dt.date, str, str, str, float | None, int | None]
"""Day, user, item, type, quantity, hour."""


def write_events(world: ServingWorld, events: Iterable[Event]) -> None:
    """Replaces the days of raw.interactions that have events."""
    rows = [
        (day, *event, None if hour is None else dt.datetime.combine(day, dt.time(hour)))
        for day, *event, hour in events
    ]
    names = "date user_id item_id event_type quantity occurred_at"
    table_rows.write_events(world.warehouse, names, rows)


def ago(days: int) -> dt.date:
    return DAY - dt.timedelta(days=days)
