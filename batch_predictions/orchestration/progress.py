"""The progress bar of a run, moved by Dagster's events."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LOGGER = "terminal"

# Relative durations of steps in the demo; all other steps have weight 1.
_STEP_WEIGHTS = {
    "raw__interactions": 12.0,
    "raw__reviews": 6.0,
    "raw__promotion_calendar": 3.0,
    "models__recommender": 30.0,
    "models__demographic": 10.0,
    "models__sentiment": 40.0,
    "models__churn": 8.0,
    "models__demand": 30.0,
}


class ProgressBar:
    """One bar over all steps of a command."""

    def __init__(self, progress: Progress, total: float) -> None:
        self.progress, self.total = progress, total
        self.task: TaskID = progress.add_task("starting", total=total)
        self.is_plain = not progress.console.is_terminal
        self.start = time.perf_counter()

    def event(self, event: dg.DagsterEvent) -> None:
        """Advances with the steps of a run."""
        step = event.step_key
        if step is None:
            return
        if event.event_type_value == "STEP_START":
            self.log(_title(step))
        elif event.event_type_value in ("STEP_SUCCESS", "STEP_FAILURE"):
            self.progress.advance(self.task, step_weight(step))

    def advance(self, weight: float) -> None:
        """Advances without a step, for work that was not necessary."""
        self.progress.advance(self.task, weight)

    def finish(self) -> None:
        """Shows the bar as complete."""
        self.progress.update(self.task, completed=self.total, description="done")

    def log(self, text: str) -> None:
        """Shows a line: as the bar's description, and printed where there is no terminal."""
        short = text if len(text) <= 70 else f"{text[:69]}…"
        self.progress.update(self.task, description=short)
        if self.is_plain:
            elapsed = time.perf_counter() - self.start
            self.progress.console.print(f"{elapsed:6.1f} s  {text}", soft_wrap=True)


_bar: ProgressBar | None = None


@contextmanager
def show_progress(total: float) -> Iterator[ProgressBar]:
    """Shows a bar on the standard error while the block runs; lines where there is no terminal."""
    global _bar
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<70}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("· left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        _bar = ProgressBar(progress, total)
        try:
            yield _bar
        finally:
            _bar = None


def step_weight(step: str) -> float:
    """Relative duration of a step."""
    return _STEP_WEIGHTS.get(step.split(".")[0], 1.0)


def _title(step: str) -> str:
    name = step.split(".")[-1].replace("__", " ")
    return name if "." not in step else f"{step.split('.')[0].split('__')[-1]}: {name.split()[-1]}"


class _ProgressHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Passes events and messages of a run to the bar."""
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if _bar is None:
            return
        if event is not None:
            _bar.event(event)
        elif record.levelno >= logging.INFO:
            _bar.log(str(meta.get("orig_message") or record.getMessage()))


@dg.logger(config_schema={}, description="Moves the progress bar of `batch-predictions run`.")
def terminal(context: dg.InitLoggerContext) -> logging.Logger:
    """A logger for the progress bar; used by the command line only."""
    # Dagster logs start and end of a step at DEBUG.
    logger = logging.Logger("batch_predictions", level=logging.DEBUG)
    logger.addHandler(_ProgressHandler())
    return logger
