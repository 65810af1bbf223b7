"""Alerts: a message when a problem begins, and one when it has ended.

Every change is a line of `<home>/alerts.log`. Where BATCH_PREDICTIONS_ALERT_URLS has addresses, it
is sent there too, by apprise: mail, chat, pagers. What could not be sent is sent with the next
change or the next look. Nothing here runs in Dagster, so that it reports a daemon that died.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.home_bucket import refresh
from batch_predictions.core.redaction import ALERT_URLS, redact
from batch_predictions.operations.records import RunRecords
from batch_predictions.operations.status import Status, StatusProblem, read_status
from batch_predictions.settings import Settings

STATE_NAME, LOG_NAME = "alerts.json", "alerts.log"
MAX_UNSENT = 100
"""Lines that are kept to be sent, the newest."""

UNREADABLE = "status"
"""The condition of a status that cannot be read."""

Send: TypeAlias = Callable[[Sequence[str], str, str], bool]
"""Sends a message, given addresses, title and text; whether all took it."""


@dataclass(frozen=True)
class AlertChanges:
    """The problems that began or ended since the status was last read.

    Attributes:
        begun: problems that were not there before.
        ended: problems that are there no more.
        unsent: lines that could not be sent.
    """

    begun: list[StatusProblem]
    ended: list[StatusProblem]
    unsent: list[str]


def watch_once(settings: Settings, records: RunRecords, max_age_days: int | None = None) -> Status:
    """Reads the status, logs what has changed and sends alerts.

    A status that cannot be read is a problem too.

    Args:
        settings: of the home.
        records: Dagster's, of the home.
        max_age_days: as of `read_status`.
    """
    try:
        status = read_status(settings, records, max_age_days)
    except Exception as error:
        status = Status(str(settings.home), settings.source.kind, "")
        text = " ".join(redact(str(error)).split())
        status.add_problem(UNREADABLE, f"the status cannot be read: {type(error).__name__}: {text}")
    settings.home.mkdir(parents=True, exist_ok=True)
    update_alerts(settings.home, status, alert_urls())
    return status


def watch_after_run(settings: Settings, records: RunRecords) -> None:
    """Updates the alerts after a run; an error of this never replaces the run's own error."""
    try:
        watch_once(settings, records)
    except Exception as error:
        print(f"alerts could not be updated: {redact(str(error))}", file=sys.stderr)


def alert_urls() -> list[str]:
    """Addresses of the variable BATCH_PREDICTIONS_ALERT_URLS, separated by blanks."""
    return os.environ.get(ALERT_URLS, "").split()


def update_alerts(
    home: Path, status: Status, urls: Sequence[str], send: Send | None = None
) -> AlertChanges:
    """Compares the problems with those recorded last, logs and sends what has changed.

    Args:
        home: the home folder, where the problems of the last look are kept.
        status: as it is now.
        urls: apprise's addresses; none: changes are logged only.
        send: sends a message; None: apprise.
    """
    with file_lock(home / f".{STATE_NAME}.lock"):
        # A run and a watcher may look at once, on other machines too.
        refresh(home / STATE_NAME)
        before, unsent = _read_state(home)
        now = {problem.condition: problem for problem in status.problems}
        if UNREADABLE in now:
            # What else is wrong is not known: nothing has ended.
            now = before | now
        begun = [problem for name, problem in now.items() if name not in before]
        ended = [problem for name, problem in before.items() if name not in now]
        lines = [f"begun: {problem.message}" for problem in begun]
        lines += [f"ended: {problem.message}" for problem in ended]
        unsent = [*unsent, *lines][-MAX_UNSENT:] if urls else []
        error = None
        try:
            _log(home, lines)
            # Before it is sent: a process that dies here sends it again, and loses nothing.
            _write_state(home, now, unsent)
        except OSError as full:
            # A full disk is reported on every check until the state can be saved.
            error = full
        if unsent:
            text = "\n".join([*unsent, "", _served(status)])
            if (send or send_by_apprise)(urls, _title(home, now), text):
                unsent = []
                if error is None:
                    _write_state(home, now, unsent)
            elif error is None:
                _log(home, [f"not sent: {len(unsent)} lines; they are sent with the next look"])
        if error is not None:
            print(f"alerts cannot be kept in {home}: {redact(str(error))}", file=sys.stderr)
        return AlertChanges(begun, ended, unsent)


def send_by_apprise(urls: Sequence[str], title: str, text: str) -> bool:
    """Sends a message to every address and returns whether all of them took it.

    Args:
        urls: addresses in apprise's format, which name the service and its credentials.
        title: the message's title.
        text: the message's text.
    """
    import apprise

    sender = apprise.Apprise()
    are_known = [sender.add(url) for url in urls]
    return bool(sender.notify(body=text, title=title)) and all(are_known)


def _title(home: Path, problems: dict[str, StatusProblem]) -> str:
    if not problems:
        return f"batch_predictions, {home.name}: all clear"
    count = len(problems)
    return f"batch_predictions, {home.name}: {count} {'problem' if count == 1 else 'problems'}"


def _served(status: Status) -> str:
    """Says in a sentence which release applications see now."""
    if status.release_id is None:
        return "Applications see no predictions."
    return f"Applications see release {status.release_id} as of {status.as_of}."


def _read_state(home: Path) -> tuple[dict[str, StatusProblem], list[str]]:
    """Reads the recorded problems by condition, and the lines that could not be sent."""
    try:
        state = json.loads((home / STATE_NAME).read_text(encoding="utf-8"))
        problems = {name: StatusProblem(name, text) for name, text in state["problems"].items()}
        return problems, [str(line) for line in state["unsent"]]
    except (OSError, ValueError, KeyError, AttributeError):
        return {}, []


def _write_state(home: Path, problems: dict[str, StatusProblem], unsent: Sequence[str]) -> None:
    messages = {name: problem.message for name, problem in problems.items()}
    text = json.dumps({"problems": messages, "unsent": list(unsent)}, indent=1)
    atomic_write(home / STATE_NAME, text)


def _log(home: Path, lines: Sequence[str]) -> None:
    if not lines:
        return
    now = dt.datetime.now(dt.UTC).replace(microsecond=0, tzinfo=None)
    with (home / LOG_NAME).open("a", encoding="utf-8") as file:
        file.writelines(f"{now.isoformat()}Z {line}\n" for line in lines)
