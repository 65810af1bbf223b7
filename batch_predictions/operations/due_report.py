"""The report that is to be sent: of which day, and whether it was."""

from __future__ import annotations

import datetime as dt

from batch_predictions.core.home import read_state
from batch_predictions.core.home_bucket import refresh
from batch_predictions.core.redaction import REPORT_URLS
from batch_predictions.serving.store.snapshot import ReadStore
from batch_predictions.serving.store.store import store_url
from batch_predictions.settings import Settings
from batch_predictions.tables import week_of

SENT_NAME = "report_sent.txt"
"""File of the home with the last day whose report was sent."""


def due_report(settings: Settings) -> dt.date | None:
    """The day whose report is due by `report.send` and was not sent yet; None: none is due."""
    if settings.report.send == "never":
        return None
    sent = settings.home / SENT_NAME
    refresh(sent)
    day = _due_day(settings)
    if day is None or (sent.exists() and sent.read_text(encoding="utf-8") >= str(day)):
        return None
    return day


def _due_day(settings: Settings) -> dt.date | None:
    """The day of the release that is served, or the last Sunday up to it that has data."""
    with ReadStore(store_url(settings)) as store:
        release = store.current_release()
    if release is None or settings.report.send == "daily":
        return release.as_of if release else None
    sunday = week_of(release.as_of + dt.timedelta(days=1)) - dt.timedelta(days=1)
    state = read_state(settings.home)
    return None if state and sunday < state.first_day else sunday


def describe_due_report(day: dt.date, reason: str) -> str:
    """Says that the report of a day was not sent, and why."""
    return (
        f"the report as of {day} was not sent to the addresses of {REPORT_URLS} (report.send): "
        f"{reason}"
    )
