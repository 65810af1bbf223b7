"""Removes posted rows that the warehouse has had for as long as the settings keep them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

from batch_predictions.core.home import read_state
from batch_predictions.settings import Settings
from batch_predictions.sources.posted_rows.feedback import FeedbackSource
from batch_predictions.sources.posted_rows.posted_pruning import PostedRowsPruner
from batch_predictions.sources.posted_rows.posted_schema import posted_url
from batch_predictions.sources.posted_rows.reader import PostedRows, day_bounds
from batch_predictions.sources.rows.ingest_log import IngestLogEntry, read_ingest_log
from batch_predictions.tables import FEEDBACK, QUARANTINE
from batch_predictions.warehouse import Warehouse, as_date

MAX_REFUSED = 10_000
"""A day of which more events were refused keeps all of its events: something is wrong with it."""


def remove_ingested_posted_rows(warehouse: Warehouse, settings: Settings, now: float) -> int:
    """Removes events that raw.feedback has, and sign-ups that newer ones supersede.

    The events of a day are removed together: when `retention.posted_days` have passed since the
    day, and since the last of them was received, and the newest ingest of the day has read all of
    them. Those that it refused stay, since the quarantine of a day is made of its posted rows.

    Args:
        warehouse: of the home.
        settings: of the home.
        now: seconds since the epoch.

    Returns:
        The number of rows that were removed.
    """
    state = read_state(settings.home)
    if not settings.retention.posted_days or state is None:
        return 0
    source = FeedbackSource(settings.source, state)
    source.home, source.posted = settings.home, PostedRows.of(settings)
    if not source.posted.exists():
        return 0
    oldest_kept = dt.datetime.fromtimestamp(now, dt.UTC).replace(tzinfo=None) - dt.timedelta(
        days=settings.retention.posted_days
    )
    removed = 0
    with PostedRowsPruner(posted_url(settings)) as pruner:
        removed += pruner.remove_superseded_users(oldest_kept)
        for day, entry in _ingested_days(warehouse, source):
            begin, end = day_bounds(as_date(day), ZoneInfo(source.timezone))
            if end > oldest_kept:
                break
            state_of_day = source.posted.event_state(begin, end)
            if source.fingerprint_of(state_of_day) != entry.fingerprint:
                continue
            refused = _refused_events(warehouse, day) if entry.quarantined else []
            if len(refused) <= MAX_REFUSED:
                removed += pruner.remove_events(begin, end, state_of_day, oldest_kept, refused)
    return removed


def _ingested_days(
    warehouse: Warehouse, source: FeedbackSource
) -> Iterator[tuple[str, IngestLogEntry]]:
    """Days of events that are still there, with what the log has of their ingest."""
    first = source.first_day_left()
    log = read_ingest_log(Path(warehouse.home), FEEDBACK).days
    for day in warehouse.partitions(FEEDBACK) if first else ():
        entry = log.get(day)
        if entry and first and day >= first.isoformat():
            yield day, entry


def _refused_events(warehouse: Warehouse, day: str) -> list[int]:
    """The numbers of a day's events that are in the quarantine."""
    rows = warehouse.query(
        f"select row_number from {QUARANTINE.qualified} "
        "where date = $day::DATE and table_name = $table",
        {"day": day, "table": FEEDBACK.name},
    )
    return [number for number in rows["row_number"].to_pylist() if number is not None]
