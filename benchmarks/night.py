"""A night of a shop of any size: seconds, CPU seconds, peak memory and rows a second of each step.

    batch-predictions benchmark night [--users 100000] [--items 20000] [--events 10000000]
        [--days 120] [--folder FOLDER] [--models recommender,demographic,churn] [--two-stage]
        [--json]

Writes a generated shop (`shop_world.py`) day by day, ingests all days but the last, trains the
models and makes the features and recommendations of the day before; then the night: the last day is
ingested, features, predictions and release are made, and users are looked up. Every step is a
process of its own, whose seconds the operating system counts. With --folder, steps that have ended
there are not run again.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from common import log, machine, print_json
from night_steps import FIRST_DAY, FUNCTIONS, TABLES
from shop_world import ShopWorld

from batch_predictions.cli.console.options import Json
from batch_predictions.cli.console.printing import print_table

NIGHT = ("ingest_day", "features", "predict", "release")
"""Steps of every night."""


def measure(
    users: int,
    items: int,
    events: int,
    days: int,
    models: Sequence[str],
    folder: Path | None,
    two_stage: bool = False,
) -> dict[str, Any]:
    """All steps, and their sums.

    Args:
        users: number of users.
        items: number of items.
        events: purchases of all days.
        days: days of history, the night's own among them.
        models: of `TABLES`.
        folder: keeps the shop, its home and the times; None: a temporary one.
        two_stage: whether two stages serve, whatever their comparison with baselines says.

    Raises:
        ValueError: a model is unknown, or there are too few days.
    """
    if unknown := sorted({*models} - {*TABLES}):
        raise ValueError(f"no such model: {', '.join(unknown)}; there are {', '.join(TABLES)}")
    if days < 15:
        raise ValueError("a night needs at least 15 days: a week to train on, and one before it")
    with tempfile.TemporaryDirectory() as temporary:
        root = folder or Path(temporary)
        world = ShopWorld(users, items, events // days, FIRST_DAY)
        result: dict[str, Any] = {
            "machine": machine(),
            "users": users,
            "items": items,
            "events": world.events_per_day * days,
            "days": days,
        }
        _write_world(world, root, days - 1)
        steps = {}
        for step in FUNCTIONS:
            if step == "ingest_day":
                world.write_day(root / "source", days - 1)
            steps[step] = _measure_step(root, step, days, models, two_stage)
            log(step, steps[step])
        night = [steps[step] for step in NIGHT]
        result["steps"] = steps
        result["night"] = {
            "seconds": round(sum(step["seconds"] for step in night), 1),
            "cpu_seconds": round(sum(step["cpu_seconds"] for step in night), 1),
            "peak_mib": max(step["peak_mib"] for step in night),
        }
        return result


def _write_world(world: ShopWorld, root: Path, days: int) -> None:
    """The source's files of the first days; a finished source is kept."""
    done = root / "source.done"
    if done.exists():
        return
    world.write_tables(root / "source")
    for number in range(days):
        world.write_day(root / "source", number)
        if number % 30 == 29:
            log(f"{number + 1} days of {world.events_per_day:,} events written")
    done.touch()


def _measure_step(
    root: Path, step: str, days: int, models: Sequence[str], two_stage: bool
) -> dict[str, Any]:
    """Runs a step in a process of its own.

    Raises:
        RuntimeError: it failed.
    """
    record = root / f"{step}.json"
    if record.exists():
        kept: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return kept
    environment = {
        **os.environ,
        "BATCH_PREDICTIONS_HOME": str(root / "home"),
        "BATCH_PREDICTIONS_SOURCE__KIND": "files",
        "BATCH_PREDICTIONS_SOURCE__PATH": str(root / "source"),
    }
    script = Path(__file__).with_name("night_steps.py")
    command = [sys.executable, str(script), step, str(days), ",".join(models), str(two_stage)]
    start = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        peak = _PeakMemory(process.pid)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{step} failed, see above; the shop is in {root}")
    counts = json.loads(output.splitlines()[-1])
    result = {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(peak.bytes / 2**20),
        **counts,
    }
    if "rows" in counts:
        result["rows_per_second"] = round(counts["rows"] / seconds)
    record.write_text(json.dumps(result), encoding="utf-8")
    return result


class _PeakMemory(threading.Thread):
    """Watches the resident memory of a process and its children, until it ends.

    The system's own figure (`ru_maxrss`) is that of the last step of the process alone, since the
    platform resets it to measure each of its steps.

    Args:
        pid: of the process.

    Attributes:
        bytes: the largest sum so far.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.bytes, self._process = 0, psutil.Process(pid)
        self.start()

    def run(self) -> None:
        """Looks four times a second."""
        with contextlib.suppress(psutil.NoSuchProcess):
            while self._process.status() != psutil.STATUS_ZOMBIE:
                resident = self._process.memory_info().rss
                for process in self._process.children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        resident += process.memory_info().rss
                self.bytes = max(self.bytes, resident)
                time.sleep(0.25)


def main(
    users: Annotated[int, typer.Option(min=1, help="Users of the shop.")] = 100_000,
    items: Annotated[int, typer.Option(min=1, help="Items of the shop.")] = 20_000,
    events: Annotated[int, typer.Option(min=1, help="Purchases of all days.")] = 10_000_000,
    days: Annotated[int, typer.Option(min=15, help="Days of history.")] = 120,
    models: Annotated[
        str, typer.Option(help="Models that are trained and predict, with commas.")
    ] = "recommender,demographic,churn",
    two_stage: Annotated[
        bool,
        typer.Option(
            "--two-stage", help="Two stages serve, whatever their comparison with baselines says."
        ),
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps the shop, its home and the times of finished steps, so that an "
            "interrupted run continues. [default: a temporary folder]"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """A night of a generated shop of any size: ingest, features, predictions, release, lookups."""
    names = [name.strip() for name in models.split(",") if name.strip()]
    try:
        result = measure(users, items, events, days, names, folder, two_stage)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        print_json(result, in_one_line=True)
        return
    steps = {**result["steps"], "the night": result["night"]}
    columns = ("seconds", "cpu_seconds", "peak_mib", "rows", "rows_per_second")
    print_table(
        [
            {"step": name, **{column: _with_commas(values.get(column)) for column in columns}}
            for name, values in steps.items()
        ]
    )
    lookups = result["steps"]["look_up"]
    typer.echo(f"lookups: p50 {lookups['p50_ms']} ms, p99 {lookups['p99_ms']} ms")


def _with_commas(value: float | None) -> str:
    return "" if value is None else f"{value:,}"


if __name__ == "__main__":
    typer.run(main)
