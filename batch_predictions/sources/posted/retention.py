"""Removes posted rows that the warehouse has had for as long as the settings keep them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

from batch_predictions.home import read_state
from batch_predictions.posted_rows.pruning import PostedRowsPruner
from batch_predictions.posted_rows.reader import PostedRows, day_bounds
from batch_predictions.posted_rows.schema import posted_url
from batch_predictions.settings import Settings
from batch_predictions.sources.ingest_log import read_ingest_log
from batch_predictions.sources.posted.feedback import FeedbackSource
from batch_predictions.tables import FEEDBACK
from batch_predictions.warehouse import Warehouse, as_date


def remove_ingested_posted_rows(warehouse: Warehouse, settings: Settings, now: float) -> int:
    """Removes events that raw.feedback has, and sign-ups that newer ones supersede.

    The events of a day are removed together: when `retention.posted_days` have passed since the
    day, and since the last of them was received, and the newest ingest of the day has read all of
    them and refused none. What is refused is in the quarantine, which is made of the posted rows.

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
        for day, fingerprint in _ingested_days(warehouse, source):
            begin, end = day_bounds(as_date(day), ZoneInfo(source.timezone))
            if end > oldest_kept:
                break
            state_of_day = source.posted.event_state(begin, end)
            if source.fingerprint_of(state_of_day) == fingerprint:
                removed += pruner.remove_events(begin, end, state_of_day, oldest_kept)
    return removed


def _ingested_days(warehouse: Warehouse, source: FeedbackSource) -> Iterator[tuple[str, str]]:
    """Days of events that are still there and were all accepted, with their fingerprints then."""
    first = source.first_day_left()
    log = read_ingest_log(Path(warehouse.home), FEEDBACK).days
    for day in warehouse.partitions(FEEDBACK) if first else ():
        entry = log.get(day)
        if entry and entry.quarantined == 0 and first and day >= first.isoformat():
            yield day, entry.fingerprint
