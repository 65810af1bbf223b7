"""What every benchmark needs: interleaved repeats, medians, ratios, one JSON object."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def interleaved(ways: Mapping[str, Callable[[], Any]], repeats: int = 5) -> dict[str, Any]:
    """Medians of wall and CPU seconds of each way, taken in turn, so that a busy neighbour slows
    all alike. One unmeasured call each comes first."""
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for work in ways.values():
        work()
    for _ in range(repeats):
        for name, work in ways.items():
            began, burnt = time.perf_counter(), time.process_time()
            work()
            wall[name].append(time.perf_counter() - began)
            cpu[name].append(time.process_time() - burnt)
    return {
        name: {
            "wall_seconds": round(statistics.median(wall[name]), 5),
            "cpu_seconds": round(statistics.median(cpu[name]), 5),
        }
        for name in ways
    }


def ratio(times: Mapping[str, Any], of: str, to: str) -> dict[str, float]:
    """How many times the seconds of `to` those of `of` are."""
    return {
        kind: round(times[of][f"{kind}_seconds"] / times[to][f"{kind}_seconds"], 3)
        for kind in ("wall", "cpu")
    }


def machine() -> dict[str, Any]:
    """Where it ran."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "processor": _processor(),
        "python": platform.python_version(),
    }


def say(*words: Any) -> None:
    """Progress, on the standard error."""
    print(*words, file=sys.stderr, flush=True)


def show(result: Mapping[str, Any]) -> None:
    """The one JSON object on the standard output."""
    print(json.dumps(result, indent=1))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            return next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor()
