"""Alerts: one message when a problem begins, one when it has ended, none in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.operations.alerts import update_alerts, watch_once
from batch_predictions.operations.status import Status
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.settings import Settings

URLS = ["json://somewhere"]


class Outbox:
    """Takes messages, or refuses them."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self.takes = True

    def __call__(self, urls: Sequence[str], title: str, text: str) -> bool:
        self.messages.append((title, text))
        return self.takes


def status_of(home: Path, **problems: str) -> Status:
    """A status with problems by condition."""
    status = Status(str(home), "files", "2024-03-04", release_id="r1", as_of="2024-03-03")
    for condition, message in problems.items():
        status.add_problem(condition, message)
    return status


def test_one_message_when_a_problem_begins_and_one_when_it_ends(tmp_path: Path) -> None:
    outbox = Outbox()
    first = update_alerts(tmp_path, status_of(tmp_path, disk="50 MiB left"), URLS, outbox)
    assert [problem.condition for problem in first.begun] == ["disk"] and not first.ended
    # The text of a problem may change while it lasts.
    again = update_alerts(tmp_path, status_of(tmp_path, disk="40 MiB left"), URLS, outbox)
    assert (again.begun, again.ended) == ([], []) and len(outbox.messages) == 1
    last = update_alerts(tmp_path, status_of(tmp_path), URLS, outbox)
    assert [problem.condition for problem in last.ended] == ["disk"]
    (title, text), (clear, ended) = outbox.messages
    assert title.endswith("1 problem") and text.startswith("begun: 50 MiB left\n")
    assert text.endswith("Applications see release r1 as of 2024-03-03.")
    assert clear.endswith("all clear") and ended.startswith("ended: 40 MiB left\n")
    lines = (tmp_path / "alerts.log").read_text().splitlines()
    assert [line.split("Z ")[1] for line in lines] == ["begun: 50 MiB left", "ended: 40 MiB left"]


def test_a_status_that_cannot_be_read_ends_no_problem(tmp_path: Path) -> None:
    outbox = Outbox()
    update_alerts(tmp_path, status_of(tmp_path, disk="50 MiB left"), URLS, outbox)
    blind = update_alerts(tmp_path, status_of(tmp_path, status="no server"), URLS, outbox)
    assert [problem.condition for problem in blind.begun] == ["status"] and not blind.ended
    assert outbox.messages[-1][0].endswith("2 problems")
    back = update_alerts(tmp_path, status_of(tmp_path, disk="50 MiB left"), URLS, outbox)
    assert [problem.condition for problem in back.ended] == ["status"] and not back.begun


def test_a_disk_on_which_nothing_can_be_kept_is_told_all_the_same(
    tmp_path: Path,
) -> None:
    outbox = Outbox()
    # As on a full disk, no line can be added.
    (tmp_path / "alerts.log").mkdir()
    for _ in range(2):
        changes = update_alerts(tmp_path, status_of(tmp_path, disk="no space"), URLS, outbox)
        assert [problem.condition for problem in changes.begun] == ["disk"]
        assert "alerts.log" in str(changes.error)
    assert [text.splitlines()[0] for _, text in outbox.messages] == ["begun: no space"] * 2
    (tmp_path / "alerts.log").rmdir()
    # With space again it is kept, and told for the last time.
    for _ in range(2):
        update_alerts(tmp_path, status_of(tmp_path, disk="no space"), URLS, outbox)
    assert len(outbox.messages) == 3 and (tmp_path / "alerts.log").read_text().count("begun") == 1


def test_what_could_not_be_sent_is_sent_with_the_next_look(tmp_path: Path) -> None:
    outbox = Outbox()
    outbox.takes = False
    changes = update_alerts(tmp_path, status_of(tmp_path, disk="full"), URLS, outbox)
    assert changes.unsent == ["begun: full"]
    assert "not sent: 1 lines" in (tmp_path / "alerts.log").read_text()
    outbox.takes = True
    assert update_alerts(tmp_path, status_of(tmp_path), URLS, outbox).unsent == []
    assert outbox.messages[-1][1].startswith("begun: full\nended: full\n")
    assert update_alerts(tmp_path, status_of(tmp_path), URLS, outbox).unsent == []
    assert len(outbox.messages) == 2


def test_without_addresses_changes_are_logged_only(tmp_path: Path) -> None:
    changes = update_alerts(tmp_path, status_of(tmp_path, disk="full"), [])
    assert changes.unsent == [] and "begun: full" in (tmp_path / "alerts.log").read_text()


def test_damaged_notes_of_the_last_look_are_made_again(tmp_path: Path) -> None:
    (tmp_path / "alerts.json").write_text("{")
    assert len(update_alerts(tmp_path, status_of(tmp_path, disk="full"), []).begun) == 1


def test_a_status_that_cannot_be_read_is_a_problem(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> Status:
        raise OSError("the store is away")

    monkeypatch.setattr("batch_predictions.operations.alerts.read_status", fail)
    [problem] = watch_once(settings, DagsterRecords(settings)).problems
    assert problem.condition == "status" and "the store is away" in problem.message


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[dict[str, Any]], threading.Event]]:
    """A web hook on loopback: its address, what it has received, and an event after each."""
    received: list[dict[str, Any]] = []
    arrived = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(json.loads(body))
            self.send_response(200)
            self.end_headers()
            arrived.set()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"json://127.0.0.1:{server.server_port}/hook", received, arrived
    server.shutdown()


@pytest.mark.slow
def test_the_command_sends_to_a_web_hook_until_it_is_ended(
    tmp_path: Path, receiver: tuple[str, list[dict[str, Any]], threading.Event]
) -> None:
    url, received, arrived = receiver
    environment = {**os.environ, "BATCH_PREDICTIONS_ALERT_URLS": url}
    command = [sys.executable, "-m", "batch_predictions.cli", "watch", "--home", str(tmp_path)]
    once = subprocess.run([*command, "--once"], env=environment, capture_output=True, text=True)
    assert once.returncode == 1 and "has no run yet" in once.stdout, once.stderr
    assert received[0]["title"].endswith("1 problem")
    assert "has no run yet" in received[0]["message"]
    (tmp_path / "alerts.json").unlink()
    arrived.clear()
    with subprocess.Popen([*command, "--every", "60"], env=environment) as process:
        assert arrived.wait(120)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert len(received) == 2
