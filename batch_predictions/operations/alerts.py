"""Alerts: a message when a problem begins, and one when it has ended.

Every change is a line of `<home>/alerts.log`. Where BATCH_PREDICTIONS_ALERT_URLS has addresses, it
is sent there too, by apprise: mail, chat, pagers. What could not be sent is sent with the next
change or the next look. Nothing here runs in Dagster, so that it reports a daemon that died.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.home_bucket import refresh
from batch_predictions.core.redaction import ALERT_URLS, redact
from batch_predictions.operations.alert_state import (
    MAX_UNSENT,
    STATE_NAME,
    UNSENT,
    StatusProblem,
    describe_unsent,
    log_alerts,
    read_alert_state,
    write_alert_state,
)
from batch_predictions.operations.records import RunRecords
from batch_predictions.operations.status import Status, read_status
from batch_predictions.settings import Settings

UNREADABLE = "status"
"""The condition of a status that cannot be read."""

Send: TypeAlias = Callable[[Sequence[str], str, str], bool]
"""Sends a message, given addresses, title and text; whether all took it."""


class AlertsError(RuntimeError):
    """Alerts could not be sent."""


@dataclass(frozen=True)
class AlertChanges:
    """The problems that began or ended since the status was last read.

    Attributes:
        begun: problems that were not there before.
        ended: problems that are there no more.
        unsent: lines that could not be sent.
        error: why the state could not be kept; None: it is kept.
    """

    begun: list[StatusProblem]
    ended: list[StatusProblem]
    unsent: list[str]
    error: str | None = None


def watch_once(settings: Settings, records: RunRecords, max_age_days: int | None = None) -> Status:
    """Reads the status, logs what has changed and sends alerts.

    A status that cannot be read is a problem too, and so are alerts that could not be sent.

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
    changes = update_alerts(settings.home, status, alert_urls())
    status.problems = [problem for problem in status.problems if problem.condition != UNSENT]
    if changes.error:
        status.add_problem(UNSENT, f"alerts cannot be kept in {settings.home}: {changes.error}")
    elif changes.unsent:
        status.add_problem(UNSENT, describe_unsent(changes.unsent))
    return status


def send_alerts(settings: Settings, records: RunRecords) -> None:
    """Looks at the status once, and sends alerts.

    Raises:
        AlertsError: they could not be sent.
    """
    for problem in watch_once(settings, records).problems:
        if problem.condition == UNSENT:
            raise AlertsError(problem.message)


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
        before, unsent = read_alert_state(home)
        now = {problem.condition: problem for problem in status.problems}
        # It would be sent with the lines that it is about.
        now.pop(UNSENT, None)
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
            log_alerts(home, lines)
            # Before it is sent: a process that dies here sends it again, and loses nothing.
            write_alert_state(home, now.values(), unsent)
        except OSError as full:
            # A full disk is reported on every check until the state can be saved.
            error = redact(str(full))
        if unsent:
            text = "\n".join([*unsent, "", _served(status)])
            if (send or send_by_apprise)(urls, _title(home, now), text):
                unsent = []
                if error is None:
                    write_alert_state(home, now.values(), unsent)
            elif error is None:
                log_alerts(home, [f"not sent: {len(unsent)} lines; they are sent next time"])
        return AlertChanges(begun, ended, unsent, error)


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
