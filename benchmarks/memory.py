"""Memory and pace of a long partition: users streamed from Parquet through top-k to Parquet.

    batch-predictions benchmark memory --json [--users 1000000] [--items 100000]

64 factors, k = 20, two instances. Each step runs in a process of its own and tells its peak of
resident memory, which includes what it maps of files; the pace is given for every tenth of the
users.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine, say, show

FACTORS, K, SHARD_ROWS = 64, 20, 8192
STEPS = ("stage", "score", "load")


def measure(users: int = 1_000_000, items: int = 100_000, folder: Path | None = None) -> Any:
    """Peaks of all steps, and rows per second by tenth."""
    from catalogue import make

    with tempfile.TemporaryDirectory(prefix="benchmark-memory-", dir=folder) as name:
        say(f"making {users:,} users and {items:,} items")
        make(Path(name), users, items, FACTORS)
        steps = {}
        for step in STEPS:
            done = subprocess.run(
                [sys.executable, __file__, "--step", step, "--folder", name],
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            steps[step] = json.loads(done.stdout.splitlines()[-1])
            say(step, steps[step])
    tenths = steps["score"]["rows_per_cpu_second_by_tenth"]
    return {
        "users": users,
        "items": items,
        "factors": FACTORS,
        "k": K,
        "machine": machine(),
        "steps": steps,
        "peak_mib": max(step["peak_mib"] for step in steps.values()),
        "last_tenth_to_first": round(tenths[-1] / tenths[0], 3),
    }


def work(step: str, folder: Path) -> dict[str, Any]:
    """One step, in this process."""
    from catalogue import PARTITION, home, stage

    from batch_predictions.inference import engine
    from batch_predictions.inference import validation as loading
    from batch_predictions.settings import InferenceSettings
    from batch_predictions.tables import RECOMMENDATIONS

    handle = folder / "manifest.txt"
    began = time.perf_counter()
    more: dict[str, Any] = {}
    if step == "stage":
        handle.write_text(str(stage(folder, K, SHARD_ROWS)))
    elif step == "score":
        times: list[tuple[float, float, int, int]] = []
        engine.score(
            Path(handle.read_text()),
            InferenceSettings(workers=2, device="cpu"),
            lambda done, total: times.append(
                (time.perf_counter(), time.process_time(), done, total)
            ),
        )
        more = {
            "rows_per_second_by_tenth": _tenths(times, 0),
            "rows_per_cpu_second_by_tenth": _tenths(times, 1),
        }
    else:
        written = loading.load(home(folder), RECOMMENDATIONS, Path(handle.read_text()))
        more = {"partition": PARTITION, "rows": written.main.rows}
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        **more,
    }


def _tenths(times: list[tuple[float, float, int, int]], clock: int) -> list[int]:
    """Rows per second of each tenth of the rows; opening the model counts to none.

    Args:
        times: wall and CPU seconds, rows done, rows in all.
        clock: 0 for wall, 1 for CPU, which a busy neighbour disturbs less.
    """
    first, last = times[0][2], times[-1][2]
    bounds = [first + (last - first) * tenth / 10 for tenth in range(11)]
    at = [next(entry for entry in times if entry[2] >= bound) for bound in bounds]
    return [
        round((high[2] - low[2]) / (high[clock] - low[clock]))
        for low, high in itertools.pairwise(at)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--step")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.step:
        print(json.dumps(work(given.step, given.folder)))
    else:
        show(measure(given.users, given.items, given.folder))
