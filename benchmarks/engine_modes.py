"""One way of scoring a staged partition from nothing, in this process, with what it took.

    python benchmarks/engine_ways.py bare|one|two|ray MANIFEST

Prints one JSON object. Opening the model is counted, starting Python and a Ray cluster is not.
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


def work(way: str, path: Path) -> dict[str, float]:
    """Scores what has no result yet; wall and CPU seconds, and how many shards that were."""
    import pyarrow.parquet as pq
    import threadpoolctl
    import torch

    from batch_predictions.inference.engine import score
    from batch_predictions.inference.shards import Worker
    from batch_predictions.inference.staging import StagingManifest, result_path
    from batch_predictions.settings import InferenceSettings

    # Alike for all: a second thread of BLAS makes the bare loop dearer than the engine.
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1, "blas")
    shards = StagingManifest.read(path).shards
    pending = sum(not result_path(path, each).exists() for each in shards)
    more: dict[str, Any] = {}
    if way == "ray":
        # A cluster that is up, in processes of its own, whose CPU seconds are counted below.
        more = {"engine": "ray", "ray_address": None}
        _ray_up()
    began, burnt, busy = time.perf_counter(), _cpu(way), _busy()
    if way == "bare":
        scorer = Worker(path, "cpu", 256).open()
        for shard in shards:
            table = pq.read_table(path.parent / shard.name).combine_chunks()
            scorer.score(table.to_batches()[0])
    else:
        workers = 1 if way == "one" else 2
        score(path, InferenceSettings(workers=workers, device="cpu", **more))
    wall, own = time.perf_counter() - began, _cpu(way) - burnt
    return {
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(own, 3),
        # What other programs took meanwhile: with more than a little, wall seconds tell nothing.
        "others_cpu_seconds": round(max(0.0, _busy() - busy - own), 1),
        "shards": pending,
    }


def _ray_up() -> None:
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    quiet = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    ray.init(address="local", num_cpus=2, **quiet)

    @ray.remote
    def nothing() -> int:
        return 0

    ray.get([nothing.remote() for _ in range(2)])


def _busy() -> float:
    """Seconds that the machine's cores have been at work: all but idle and waiting for a disk."""
    with open("/proc/stat", encoding="utf-8") as file:  # noqa: PTH123
        user, nice, system, _, _, *rest = map(int, file.readline().split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _cpu(way: str) -> float:
    """CPU seconds of this process and, for Ray, of all processes below it, alive or ended."""
    own = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    if way != "ray":
        return own
    ticks = os.sysconf("SC_CLK_TCK")
    parents, taken = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        # With what its ended children took: user, system, and theirs.
        taken[pid] = sum(map(int, fields[11:15])) / ticks
    mine = {os.getpid()}
    while more := {p for p, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return own + sum(taken[pid] for pid in mine if pid != os.getpid())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["bare", "one", "two", "ray"])
    parser.add_argument("path", type=Path)
    given = parser.parse_args()
    print(json.dumps(work(given.way, given.path)))
