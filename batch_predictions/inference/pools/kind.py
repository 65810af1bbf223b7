"""Decides whether instances of a scorer on one machine are threads or processes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

from batch_predictions.inference.scorer import Scorer, scorer_name

PROCESS_MIB = 1024
"""Memory that must be free for every process; the demo's scorer of recommendations takes 600."""
CGROUP = Path("/sys/fs/cgroup")
"""Of a container, whose limit may be far below the machine's memory."""


def worker_kind(
    scorer: type[Scorer], model: Path | None, rows: int, instances: int
) -> Literal["threads", "processes"]:
    """Decides between threads, the default, and processes.

    Threads wait for each other wherever Python itself works; a process loads the libraries and the
    model, which takes seconds and memory. A scorer whose work is in Python declares
    `workers = "processes"`. One whose work is so in part declares `process_rows`, the number of
    rows from which two instances are sooner ready as processes, or a class method that takes the
    model's folder and returns it. The more instances there are, the fewer rows it takes. These are
    processes only where the free memory suffices for all.

    Args:
        scorer: the class.
        model: folder of the model's files; None without a model.
        rows: rows to score.
        instances: number of instances, at least 2.

    Raises:
        ValueError: the class attribute `workers` has another value.
    """
    declared = getattr(scorer, "workers", "threads")
    if declared not in ("threads", "processes"):
        raise ValueError(f"{scorer_name(scorer)}.workers is {declared!r}: threads or processes")
    if declared == "processes":
        return "processes"
    process_rows = getattr(scorer, "process_rows", None)
    if callable(process_rows):
        process_rows = process_rows(model)
    # All but one of the threads would wait for the one that runs Python.
    waiting = 2 * rows * (1 - 1 / instances)
    if process_rows is None or waiting < process_rows:
        return "threads"
    return "processes" if instances * PROCESS_MIB <= free_mib() else "threads"


def free_mib() -> float:
    """Memory that processes may still take, MiB."""
    import psutil

    free = psutil.virtual_memory().available
    with suppress(OSError, ValueError, KeyError):  # "max" where the container has no limit.
        limit, used = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        cache = int(dict(line.split() for line in lines)["inactive_file"])
        free = min(free, limit - used + cache)
    return float(free / 2**20)
