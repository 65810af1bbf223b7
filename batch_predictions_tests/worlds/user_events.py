"""Events of users, from which a release makes their histories."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from batch_predictions.serving.release.context_tables import ContextChoice
from batch_predictions.tables import INTERACTIONS
from batch_predictions_tests.worlds.serving import DAY, ServingWorld

HISTORY = ContextChoice(history_items=3, history_days=7, event_types=("purchase", "view", "return"))
INTERACTION_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("event_id", "user_id", "item_id", "event_type", "location")]
    + [("quantity", pa.float64()), ("amount", pa.float64()), ("occurred_at", pa.timestamp("us"))]
)
Event = tuple[dt.date, str, str, str, float | None, int | None]
"""Day, user, item, type, quantity, hour."""


def write_events(world: ServingWorld, events: Iterable[Event]) -> None:
    """Replaces the days of raw.interactions that have events."""
    by_day: dict[dt.date, list[dict[str, Any]]] = defaultdict(list)
    for number, (day, user, item, type_, quantity, hour) in enumerate(events):
        at = None if hour is None else dt.datetime.combine(day, dt.time(hour))
        row = {"event_id": f"e{number}", "user_id": user, "item_id": item, "event_type": type_}
        by_day[day].append({**row, "quantity": quantity, "occurred_at": at})
    for day, rows in by_day.items():
        table = pa.Table.from_pylist(rows, INTERACTION_SCHEMA)
        world.warehouse.replace_partition(INTERACTIONS, day.isoformat(), table)


def ago(days: int) -> dt.date:
    return DAY - dt.timedelta(days=days)
