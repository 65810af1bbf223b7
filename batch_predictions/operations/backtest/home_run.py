"""Runs a day of a backtest's home by `batch-predictions run`, in a process of its own.

The run ends with this process: a pipe is its standard input, which is closed with this process at
the latest.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from batch_predictions.core.interruption import raise_if_stopped
from batch_predictions.settings.environment import PREFIX

_SHARED_VARIABLES = ("SINKS", "SERVING__", "EXECUTION__INSTANCE", "ALERT_URLS", "REPORT__", "HOME")
"""Beginnings of the variables, after BATCH_PREDICTIONS_, that a run must not have."""
_INCOMPLETE = 6
"""Exit code of a run of which a table or a model failed."""
_PROGRAM = (
    "from batch_predictions.core.interruption import stop_with_parent; stop_with_parent(); "
    "from batch_predictions.cli import main; main()"
)
Progress = Callable[[str], None]
_processes: set[subprocess.Popen[str]] = set()
"""The runs of this process, which may be those of several threads."""


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
        Stopped: this process has received a signal.
    """
    raise_if_stopped()
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
            [sys.executable, "-P", "-c", _PROGRAM, *words],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=answer,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stderr is not None
        _processes.add(process)
        for line in process.stderr:
            log.write(line)
            newest = line.strip() or newest
            progress(f"{home.name}, {sunday}: {newest}")
    _processes.discard(process)
    if process.returncode not in (0, _INCOMPLETE):
        raise BacktestError(f"{sunday}: {newest} (log: {home / 'run.log'})")
    summary = json.loads((home / "run.json").read_text(encoding="utf-8"))
    failed: dict[str, str] = summary.get("failed", {})
    return failed


@contextmanager
def runs_of_threads() -> Iterator[None]:
    """Ends the runs that threads have started in the block, where a signal ends the block."""
    try:
        yield
    except BaseException:
        for process in [*_processes]:
            process.terminate()
        raise
