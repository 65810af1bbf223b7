"""The problems of a home at the last look, alerts that were not sent yet, and the log of both."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.redaction import ALERT_URLS

STATE_NAME, LOG_NAME = "alerts.json", "alerts.log"
MAX_UNSENT = 100
"""Lines that are kept to be sent, the newest."""
UNSENT = "alerts"
"""The condition of alerts that could not be sent or kept."""


@dataclass(frozen=True)
class StatusProblem:
    """A condition of the home that needs somebody's attention.

    Attributes:
        condition: its kind, with the table, job or check that it is about; equal as long as it
            lasts.
        message: what is seen, and what to do.
    """

    condition: str
    message: str


def read_alert_state(home: Path) -> tuple[dict[str, StatusProblem], list[str]]:
    """Reads the recorded problems by condition, and the lines that could not be sent."""
    try:
        state = json.loads((home / STATE_NAME).read_text(encoding="utf-8"))
        problems = {name: StatusProblem(name, text) for name, text in state["problems"].items()}
        return problems, [str(line) for line in state["unsent"]]
    except (OSError, ValueError, KeyError, AttributeError):
        return {}, []


def write_alert_state(home: Path, problems: Iterable[StatusProblem], unsent: Sequence[str]) -> None:
    """Stores the problems of a look, and the lines that are still to be sent."""
    messages = {problem.condition: problem.message for problem in problems}
    text = json.dumps({"problems": messages, "unsent": list(unsent)}, indent=1)
    atomic_write(home / STATE_NAME, text)


def log_alerts(home: Path, lines: Sequence[str]) -> None:
    """Appends lines to `<home>/alerts.log`, with the time."""
    if not lines:
        return
    now = dt.datetime.now(dt.UTC).replace(microsecond=0, tzinfo=None)
    with (home / LOG_NAME).open("a", encoding="utf-8") as file:
        file.writelines(f"{now.isoformat()}Z {line}\n" for line in lines)


def describe_unsent(lines: Sequence[str]) -> str:
    """Says how many lines of alerts could not be sent, and where to."""
    number = "an alert" if len(lines) == 1 else f"{len(lines)} alerts"
    return (
        f"{number} could not be sent to all addresses of {ALERT_URLS} (see {LOG_NAME}): correct "
        "them, or wait; the next run and `batch-predictions watch` send it again"
    )
