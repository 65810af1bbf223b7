"""Functions of all benchmarks: interleaved timing, ratios, the machine, output."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

Repeats = Annotated[int, typer.Option(min=1, help="Interleaved repeats; medians are shown.")]


def time_interleaved(
    functions: Mapping[str, Callable[[], Any]], repeats: int = 5
) -> dict[str, dict[str, float]]:
    """Median wall and CPU seconds of functions, by name.

    Every repeat calls all functions, so that other programs slow all of them. One call of each
    comes first and is not measured.
    """
    wall: dict[str, list[float]] = {name: [] for name in functions}
    cpu: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            function()
            wall[name].append(time.perf_counter() - wall_start)
            cpu[name].append(time.process_time() - cpu_start)
    return {
        name: {
            "wall_seconds": round(statistics.median(wall[name]), 5),
            "cpu_seconds": round(statistics.median(cpu[name]), 5),
        }
        for name in functions
    }


def time_ratio(times: Mapping[str, Any], numerator: str, denominator: str) -> dict[str, float]:
    """Ratio of the wall and of the CPU seconds of two functions."""
    return {
        clock: round(
            times[numerator][f"{clock}_seconds"] / times[denominator][f"{clock}_seconds"], 3
        )
        for clock in ("wall", "cpu")
    }


def machine() -> dict[str, Any]:
    """The machine, for the results: cores, load, CPU, Python."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "processor": _processor(),
        "python": platform.python_version(),
    }


def log(*values: Any) -> None:
    """Prints progress on the standard error."""
    print(*values, file=sys.stderr, flush=True)


def print_json(result: Any, in_one_line: bool = False) -> None:
    """Prints the result as JSON on the standard output."""
    print(json.dumps(result, indent=None if in_one_line else 1))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            return next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor()
