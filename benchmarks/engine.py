"""The engine beside a bare loop over the same batches: overhead, two workers, Ray, SIGKILL.

    batch-predictions benchmark engine --json [--seconds 60] [--ray]

Every way scores the same users against the same catalogue (20,000 items, 64 factors, k = 20), one
after the other in every repeat, each in a fresh process, which tells its wall and CPU seconds with
those of its children. `--seconds` is what the bare loop is to take.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine, say, show

ITEMS, FACTORS, K, SHARD_ROWS = 20_000, 64, 20, 4096


def measure(seconds: float = 60, repeats: int = 5, ray: bool = False) -> dict[str, Any]:
    """Medians of all ways, and their ratios."""
    from catalogue import make, stage

    with tempfile.TemporaryDirectory(prefix="benchmark-engine-") as name:
        folder = Path(name)
        users = round(seconds / _seconds_a_shard(folder)) * SHARD_ROWS
        say(f"{users:,} users take the bare loop {seconds:g} s")
        make(folder, users, ITEMS, FACTORS)
        began = time.perf_counter()
        path = stage(folder, K, SHARD_ROWS)
        staging_seconds = time.perf_counter() - began
        ways = ["bare", "one", "two", *(["ray"] if ray else [])]
        taken: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way in ways:
                taken[way].append(_run(way, path))
                say(way, taken[way][-1])
        times = {
            way: {key: round(statistics.median(t[key] for t in all_), 3) for key in all_[0]}
            for way, all_ in taken.items()
        }
        result = {
            "users": users,
            "items": ITEMS,
            "repeats": repeats,
            "machine": machine(),
            "times": times,
            "rows_per_second": {w: round(users / times[w]["wall_seconds"]) for w in ways},
            "stage_seconds": round(staging_seconds, 2),
            "overhead": _times(times, "one", "bare", "wall"),
            "overhead_cpu": _times(times, "one", "bare", "cpu"),
            "two_workers": _times(times, "one", "two", "wall"),
            "killed_half_way": _killed(path),
        }
        if ray:
            result["ray_cpu_to_local"] = _times(times, "ray", "two", "cpu")
        return result


def _seconds_a_shard(folder: Path) -> float:
    """What the bare loop takes for one more shard; opening the model is the same for any number."""
    from catalogue import make, stage

    taken = []
    # The first run compiles what is compiled once for a machine, and is not counted.
    for shards in (1, 8, 32):
        make(folder, shards * SHARD_ROWS, ITEMS, FACTORS)
        taken.append(_run("bare", stage(folder, K, SHARD_ROWS))["wall_seconds"])
    return max(1e-3, (taken[2] - taken[1]) / 24)


def _times(times: dict[str, Any], of: str, to: str, kind: str) -> float:
    return round(times[of][f"{kind}_seconds"] / times[to][f"{kind}_seconds"], 3)


def _run(way: str, path: Path) -> dict[str, float]:
    """Scores from nothing in a fresh process; its own account of what it took."""
    shutil.rmtree(path.parent.parent / "results", ignore_errors=True)
    done = subprocess.run(_command(way, path), stdout=subprocess.PIPE, check=True, text=True)
    taken: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return taken


def _command(way: str, path: Path) -> list[str]:
    return [sys.executable, __file__, "--way", way, "--path", str(path)]


def _killed(path: Path) -> dict[str, Any]:
    """SIGKILL at half of the shards; what the next run scores, and whether the rows are equal."""
    from batch_predictions.inference.staging import Manifest, result_path

    shards = Manifest.read(path).shards
    undisturbed = path.parent.parent / "undisturbed"
    shutil.rmtree(undisturbed, ignore_errors=True)
    (path.parent.parent / "results").rename(undisturbed)
    process = subprocess.Popen(_command("two", path), stdout=subprocess.DEVNULL)
    while sum(result_path(path, each).exists() for each in shards) < len(shards) // 2:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = sum(result_path(path, each).exists() for each in shards)
    done = subprocess.run(_command("two", path), stdout=subprocess.PIPE, check=True, text=True)
    after = json.loads(done.stdout.splitlines()[-1])
    same = all(
        (undisturbed / result_path(path, each).name).read_bytes()
        == result_path(path, each).read_bytes()
        for each in shards
    )
    return {
        "shards": len(shards),
        "scored_when_killed": before,
        "scored_by_next_run": after["shards"],
        "same_bytes_as_undisturbed": same,
    }


def work(way: str, path: Path) -> dict[str, float]:
    """One way, in this process. Opening the model is not counted: it is the same for all."""
    import pyarrow.parquet as pq
    import threadpoolctl
    import torch

    from batch_predictions.inference.engine import score
    from batch_predictions.inference.shards import Worker
    from batch_predictions.inference.staging import Manifest, result_path
    from batch_predictions.settings import InferenceSettings

    # Alike for all: a second thread of BLAS makes the bare loop dearer than the engine.
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1, "blas")
    shards = Manifest.read(path).shards
    pending = sum(not result_path(path, each).exists() for each in shards)
    more: dict[str, Any] = {}
    if way == "ray":
        # A cluster that is up, in processes of its own, whose CPU seconds are counted below.
        more = {"engine": "ray", "ray_address": None}
        _ray_up()
    began, burnt = time.perf_counter(), _cpu(way)
    if way == "bare":
        scorer = Worker(path, "cpu", 256).open()
        for shard in shards:
            table = pq.read_table(path.parent / shard.name).combine_chunks()
            scorer.score(table.to_batches()[0])
    else:
        workers = 1 if way == "one" else 2
        score(path, InferenceSettings(workers=workers, device="cpu", **more))
    return {
        "wall_seconds": time.perf_counter() - began,
        "cpu_seconds": _cpu(way) - burnt,
        "shards": pending,
    }


def _ray_up() -> None:
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)

    @ray.remote
    def nothing() -> int:
        return 0

    ray.get([nothing.remote() for _ in range(2)])


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
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--way")
    parser.add_argument("--path", type=Path)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(work(given.way, given.path)))
    else:
        show(measure(given.seconds, given.repeats, given.ray))
