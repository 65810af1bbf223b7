"""Sends the report of a day or week to the addresses of an environment variable, by apprise."""

from __future__ import annotations

import datetime as dt
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.home import read_state
from batch_predictions.core.home_bucket import refresh
from batch_predictions.core.redaction import REPORT_URLS, redact
from batch_predictions.operations.records import RunRecords
from batch_predictions.operations.report.report_home import ReportHome
from batch_predictions.serving.store.snapshot import ReadStore
from batch_predictions.serving.store.store import store_url
from batch_predictions.settings import Settings
from batch_predictions.tables import week_of

SENT_NAME = "report_sent.txt"
"""File of the home with the last day whose report was sent."""
Send: TypeAlias = Callable[[Sequence[str], str, Path], bool]
"""Sends a file, given addresses and a title; whether all took it."""


def send_due_report(
    settings: Settings, records: RunRecords, send: Send | None = None
) -> dt.date | None:
    """Sends the report that is due by `report.send`, once; returns its day, None if none is due.

    A report that was not taken by all addresses is due again.

    Args:
        settings: of the home, whose declarations are loaded.
        records: Dagster's, of the home.
        send: sends a file; None: apprise.
    """
    if settings.report.send == "never":
        return None
    urls = os.environ.get(REPORT_URLS, "").split()
    if not urls:
        print(f"report.send: {REPORT_URLS} has no address", file=sys.stderr)
        return None
    sent = settings.home / SENT_NAME
    with file_lock(settings.home / f".{SENT_NAME}.lock"):
        refresh(sent)
        day = _due_day(settings)
        if day is None or (sent.exists() and sent.read_text(encoding="utf-8") >= str(day)):
            return None
        # Where nothing is sent, a run does not load plots and templates.
        from batch_predictions.operations.report.report_pages import render_page

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"predictions_{day}.html"
            file.write_text(render_page(ReportHome(settings, day, False, records)), "utf-8")
            if not (send or _send_by_apprise)(urls, f"Predictions as of {day}", file):
                print(f"the report of {day} was not sent to all addresses", file=sys.stderr)
                return None
        atomic_write(sent, str(day))
    return day


def send_report_after_run(settings: Settings, records: RunRecords) -> None:
    """Sends the report that is due; an error is printed, since the run's result stands."""
    try:
        send_due_report(settings, records)
    except Exception as error:
        print(f"the report could not be sent: {redact(str(error))}", file=sys.stderr)


def _due_day(settings: Settings) -> dt.date | None:
    """The day of the release that is served, or the last Sunday up to it that has data."""
    with ReadStore(store_url(settings)) as store:
        release = store.current_release()
    if release is None or settings.report.send == "daily":
        return release.as_of if release else None
    sunday = week_of(release.as_of + dt.timedelta(days=1)) - dt.timedelta(days=1)
    state = read_state(settings.home)
    return None if state and sunday < state.first_day else sunday


def _send_by_apprise(urls: Sequence[str], title: str, file: Path) -> bool:
    import apprise

    sender = apprise.Apprise()
    are_known = [sender.add(url) for url in urls]
    body = "The report is attached. Customers are numbered, not named."
    is_sent = sender.notify(body=body, title=title, attach=str(file))
    return bool(is_sent) and all(are_known)
