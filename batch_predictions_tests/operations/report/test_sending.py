"""A report is sent once for each week or day, and again where it was not taken."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from batch_predictions.core import redaction
from batch_predictions.core.home import State, write_state
from batch_predictions.operations.report import sending
from batch_predictions.operations.report.sending import ReportError, send_due_report
from batch_predictions.operations.status import read_status
from batch_predictions.orchestration import after_run
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.serving.store.snapshot import ReadStore
from batch_predictions.settings import ReportSettings, Settings
from batch_predictions_tests.worlds.http_service import publish_all
from batch_predictions_tests.worlds.serving import DAY, open_world

URL = "json://localhost/a-token"


class Outbox:
    """Takes files, or refuses them."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.takes = True

    def __call__(self, urls: Sequence[str], title: str, file: Path) -> bool:
        assert urls == [URL] and "<h1>Predictions" in file.read_text(encoding="utf-8")
        self.sent.append((title, file.name))
        return self.takes


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that serves a release of a Sunday."""
    monkeypatch.setenv("BATCH_PREDICTIONS_REPORT_URLS", URL)
    world = open_world(tmp_path / "home")
    publish_all(world)
    world.store.close()
    return world.settings.home


def send(home: Path, outbox: Outbox, how: Literal["never", "weekly", "daily"]) -> dt.date | None:
    settings = Settings(home=home, report=ReportSettings(send=how))
    return send_due_report(settings, DagsterRecords(settings), outbox)


def test_a_report_is_sent_once_and_again_if_it_was_refused(home: Path) -> None:
    outbox = Outbox()
    assert send(home, outbox, "never") is None
    outbox.takes = False
    with pytest.raises(ReportError, match=f"as of {DAY} was not sent"):
        send(home, outbox, "daily")
    outbox.takes = True
    assert [send(home, outbox, "daily") for _ in range(2)] == [DAY, None]
    assert outbox.sent == [(f"Predictions as of {DAY}", f"predictions_{DAY}.html")] * 2


@pytest.mark.parametrize(
    ("as_of", "first_day", "sunday"),
    [
        ("2024-03-03", "2024-02-01", "2024-03-03"),
        ("2024-03-09", "2024-02-01", "2024-03-03"),
        ("2024-03-09", "2024-03-04", "None"),
    ],
)
def test_a_weekly_report_is_of_the_last_sunday_that_has_data(
    home: Path, monkeypatch: pytest.MonkeyPatch, as_of: str, first_day: str, sunday: str
) -> None:
    class Release:
        def __init__(self) -> None:
            self.as_of = dt.date.fromisoformat(as_of)

    first = dt.date.fromisoformat(first_day)
    write_state(home, State(source_kind="files", timezone="UTC", first_day=first, default_date=DAY))
    monkeypatch.setattr(ReadStore, "current_release", lambda store: Release())
    assert str(send(home, Outbox(), "weekly")) == sunday


def test_without_addresses_nothing_is_sent_and_said(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BATCH_PREDICTIONS_REPORT_URLS")
    with pytest.raises(ReportError, match=r"REPORT_URLS .*the variable has no address"):
        send(home, Outbox(), "daily")


def test_a_failure_of_the_run_has_no_secret(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> bool:
        raise RuntimeError(f"{URL} is down")

    for name in ("_known", "_short", "_shows_identifiers"):
        monkeypatch.setattr(redaction, name, getattr(redaction, name))
    redaction.configure([], show_identifiers=True)
    monkeypatch.setattr(sending, "_send_by_apprise", fail)
    settings = Settings(home=home, report=ReportSettings(send="daily"))
    failed = after_run.notify(settings, DagsterRecords(settings))
    assert "is down" in failed["report"]
    assert "a-token" not in failed["report"]
    first = DAY - dt.timedelta(days=6)
    write_state(home, State(source_kind="files", timezone="UTC", first_day=first, default_date=DAY))
    problems = read_status(settings, DagsterRecords(settings)).problems
    assert "report" in {problem.condition for problem in problems}
