"""Scores a staged partition without results in one mode, in this process, and measures it.

    python benchmarks/engine_modes.py bare|one|two|ray MANIFEST

Prints one JSON object. Opening the model is measured; starting Python and a Ray cluster is not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any


def measure(mode: str, path: Path) -> dict[str, float]:
    """Scores what has no result yet; returns wall and CPU seconds and the number of shards."""
    import pyarrow.parquet as pq
    import threadpoolctl
    import torch

    from batch_predictions.inference.pools.engine import score
    from batch_predictions.inference.results import StagingManifest, result_path
    from batch_predictions.inference.shards import Worker
    from batch_predictions.settings import InferenceSettings

    # The same for all modes: a second BLAS thread would make the bare loop cost more than the
    # engine.
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1, "blas")
    shards = StagingManifest.read(path).shards
    pending = sum(not result_path(path, shard).exists() for shard in shards)
    options: dict[str, Any] = {}
    if mode == "ray":
        # The cluster runs already; `_cpu_seconds` counts its processes.
        options = {"engine": "ray", "ray_address": None}
        _start_ray()
    wall_start = time.perf_counter()
    cpu_start, machine_start = _cpu_seconds(mode), _machine_cpu_seconds()
    if mode == "bare":
        scorer = Worker(path, "cpu", 256).open()
        for shard in shards:
            table = pq.read_table(path.parent / shard.name).combine_chunks()
            scorer.score(table.to_batches()[0])
    else:
        workers = 1 if mode == "one" else 2
        score(path, InferenceSettings(workers=workers, device="cpu", **options))
    wall, cpu = time.perf_counter() - wall_start, _cpu_seconds(mode) - cpu_start
    return {
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        # CPU time of other programs: with more than a little, wall seconds mean nothing.
        "others_cpu_seconds": round(max(0.0, _machine_cpu_seconds() - machine_start - cpu), 1),
        "shards": pending,
    }


def _start_ray() -> None:
    """Starts a local cluster of two CPUs, and waits until both run tasks."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    options = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    ray.init(address="local", num_cpus=2, **options)

    @ray.remote
    def ping() -> int:
        return 0

    ray.get([ping.remote() for _ in range(2)])


def _machine_cpu_seconds() -> float:
    """Seconds that all cores of the machine have worked: neither idle nor waiting for a disk."""
    with open("/proc/stat", encoding="utf-8") as file:  # noqa: PTH123
        user, nice, system, _, _, *interrupts = map(int, file.readline().split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _cpu_seconds(mode: str) -> float:
    """CPU seconds of this process and, for Ray, of all its descendants, running or ended."""
    this_process = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    if mode != "ray":
        return this_process
    ticks = os.sysconf("SC_CLK_TCK")
    parents, seconds = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        # User and system time, and those of its ended children.
        seconds[pid] = sum(map(int, fields[11:15])) / ticks
    family = {os.getpid()}
    while children := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= children
    return this_process + sum(seconds[pid] for pid in family if pid != os.getpid())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["bare", "one", "two", "ray"])
    parser.add_argument("path", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.mode, arguments.path)))
