"""Sends the report of a day or week to the addresses of an environment variable, by apprise."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.redaction import REPORT_URLS
from batch_predictions.operations.due_report import SENT_NAME, describe_due_report, due_report
from batch_predictions.operations.records import RunRecords
from batch_predictions.operations.report.report_home import ReportHome
from batch_predictions.settings import Settings

Send: TypeAlias = Callable[[Sequence[str], str, Path], bool]
"""Sends a file, given addresses and a title; whether all took it."""


class ReportError(RuntimeError):
    """A report could not be sent; it is due again."""


def send_due_report(
    settings: Settings, records: RunRecords, send: Send | None = None
) -> dt.date | None:
    """Sends the report that is due by `report.send`, once; returns its day, None if none is due.

    Args:
        settings: of the home, whose declarations are loaded.
        records: Dagster's, of the home.
        send: sends a file; None: apprise.

    Raises:
        ReportError: there is no address, or one has not taken it.
    """
    if settings.report.send == "never":
        return None
    with file_lock(settings.home / f".{SENT_NAME}.lock"):
        day = due_report(settings)
        if day is None:
            return None
        urls = os.environ.get(REPORT_URLS, "").split()
        if not urls:
            raise ReportError(describe_due_report(day, "the variable has no address"))
        # Where nothing is sent, a run does not load plots and templates.
        from batch_predictions.operations.report.report_pages import render_page

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"predictions_{day}.html"
            file.write_text(render_page(ReportHome(settings, day, False, records)), "utf-8")
            if not (send or _send_by_apprise)(urls, f"Predictions as of {day}", file):
                raise ReportError(describe_due_report(day, "not all addresses have taken it"))
        atomic_write(settings.home / SENT_NAME, str(day))
    return day


def _send_by_apprise(urls: Sequence[str], title: str, file: Path) -> bool:
    import apprise

    sender = apprise.Apprise()
    are_known = [sender.add(url) for url in urls]
    body = "The report is attached. Customers are numbered, not named."
    is_sent = sender.notify(body=body, title=title, attach=str(file))
    return bool(is_sent) and all(are_known)
