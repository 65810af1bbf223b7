"""What orchestration costs: a night's wall time beside the time in its own functions.

    python benchmarks/orchestration.py HOME [--date YYYY-MM-DD] [--repeats 3]

Copies the home, and predicts and releases one of its days again by `run --force`, in this process:
everything is computed as in a night in which everything is due, but the ingest and the training.
The functions that read, compute and write rows are timed: features, staging, scoring, checks,
loading, metrics, drift, plots, publishing. What is left of the wall time is Dagster's and the
platform's: planning, steps, events, records. Then `run` with nothing due, in a process of its own.
Prints one JSON object, medians of the repeats; the target of `ratio` is 1.3 at most.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import log, machine, print_json


def main() -> None:
    """Measures on a copy of a home."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--date", help="day to predict again; else: the newest that is released")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(args.home, home, ignore=shutil.ignore_patterns("processes", "run.lock"))
        os.environ["BATCH_PREDICTIONS_HOME"] = str(home)
        print_json({"machine": machine(), **measure(args.date, args.repeats)})


def measure(date: str | None, repeats: int) -> dict[str, Any]:
    """A night, and a run with nothing to do."""
    from batch_predictions.definitions import defs
    from batch_predictions.orchestration import instance
    from batch_predictions.orchestration.run import run
    from batch_predictions.settings import Settings
    from batch_predictions.tables import RECOMMENDATIONS
    from batch_predictions.warehouse import Warehouse

    settings = Settings.load()
    instance.prepare(settings)
    day = date or Warehouse.of(settings).partitions(RECOMMENDATIONS)[-1]
    last = dt.date.fromisoformat(day)
    timers = Timers()
    timers.install()
    run(settings, defs, last=last, force=True)
    nights = []
    for repeat in range(repeats):
        timers.seconds.clear()
        # Kept results would not be scored again.
        shutil.rmtree(settings.home / "inference")
        start, cpu = time.perf_counter(), time.process_time()
        run(settings, defs, last=last, force=True)
        wall = time.perf_counter() - start
        functions = sum(timers.seconds.values())
        nights.append(
            {
                "wall_seconds": round(wall, 3),
                "cpu_seconds": round(time.process_time() - cpu, 3),
                "function_seconds": round(functions, 3),
                "ratio": round(wall / functions, 3),
            }
        )
        log(f"night {repeat + 1}", nights[-1])
    command = [sys.executable, "-m", "batch_predictions.cli", "run", "--date", day]
    idle = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        idle.append(time.perf_counter() - start)
    return {
        "date": day,
        **{name: statistics.median(night[name] for night in nights) for name in nights[0]},
        "by_function": {
            name: round(seconds, 3)
            for name, seconds in sorted(timers.seconds.items(), key=lambda item: -item[1])
        },
        "nothing_due_seconds": round(statistics.median(idle), 3),
    }


class Timers:
    """Seconds of functions by name; of nested ones, those of the outermost."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._is_inside = threading.local()

    def install(self) -> None:
        """Replaces the functions where they are called."""
        from batch_predictions.evaluation import assets as evaluation
        from batch_predictions.features import assets as features
        from batch_predictions.inference.dagster import steps
        from batch_predictions.inference.pools import engine
        from batch_predictions.serving import assets as serving
        from batch_predictions.warehouse import Warehouse, usual_check

        for owner, names in (
            (Warehouse, ["replace_partition"]),
            (steps, ["stage_partition", "validate", "load_partition", "unusual_exclusions"]),
            (engine, ["score"]),
            (evaluation, ["compute_metrics", "compute_drift"]),
            (usual_check, ["compare_day"]),
            (serving, ["publish"]),
            (features, ["write_tile"]),
        ):
            for name in names:
                setattr(owner, name, self._timed(name, getattr(owner, name)))
        for module in (features, steps, evaluation):
            record = vars(module)["record_materializations"]
            vars(module)["record_materializations"] = self._with_timed_plot(record)

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._is_inside, "value", False):
                return function(*args, **kwargs)
            self._is_inside.value = True
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - start
                self._is_inside.value = False

        return call

    def _with_timed_plot(self, record: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, plot: Callable[[], Any] | None = None, **kwargs: Any) -> None:
            record(*args, plot=self._timed("plot", plot) if plot else None, **kwargs)

        return call


if __name__ == "__main__":
    main()
