"""Runs a day of a backtest's home by `batch-predictions run`, in a process of its own."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from batch_predictions.settings.environment import PREFIX

_SHARED_VARIABLES = ("SINKS", "SERVING__", "EXECUTION__INSTANCE", "ALERT_URLS", "REPORT__", "HOME")
"""Beginnings of the variables, after BATCH_PREDICTIONS_, that a run must not have."""
_INCOMPLETE = 6
"""Exit code of a run of which a table or a model failed."""
Progress = Callable[[str], None]


class BacktestError(RuntimeError):
    """A week could not be run; the message has the cause."""


def run_home(
    home: Path, sunday: dt.date, only: Sequence[str], progress: Progress
) -> dict[str, str]:
    """Runs a day of a home; returns failures by table or model.

    Args:
        home: whose file of settings reaches nothing outside of it.
        sunday: the day.
        only: tables and models that are made, with what they need; empty: all.
        progress: receives the lines of the run.

    Raises:
        BacktestError: the run failed; the message is its last line.
    """
    outside = tuple(f"{PREFIX}{name}" for name in _SHARED_VARIABLES)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(outside)
    }
    words = ["run", "--home", str(home), "--date", str(sunday), "--json"]
    words += [word for name in only for word in ("--only", name)]
    newest = ""
    with (
        (home / "run.json").open("w+", encoding="utf-8") as answer,
        (home / "run.log").open("a", encoding="utf-8") as log,
        subprocess.Popen(  # noqa: S603 - this interpreter, with dates and names
            [sys.executable, "-P", "-m", "batch_predictions.cli", *words],
            env=environment,
            stdout=answer,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            log.write(line)
            newest = line.strip() or newest
            progress(f"{home.name}, {sunday}: {newest}")
    if process.returncode not in (0, _INCOMPLETE):
        raise BacktestError(f"{sunday}: {newest} (log: {home / 'run.log'})")
    summary = json.loads((home / "run.json").read_text(encoding="utf-8"))
    failed: dict[str, str] = summary.get("failed", {})
    return failed
