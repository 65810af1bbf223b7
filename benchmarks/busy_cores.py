"""What idle OpenMP threads cost beside other programs: LightGBM's training with each policy.

    python benchmarks/busy_cores.py [--rows 100000] [--busy 2] [--repeats 3]

Trains the same model in processes of its own, alternately with OMP_WAIT_POLICY=ACTIVE, its default
and PASSIVE (the platform's), without and with busy loops beside them. Prints one JSON object of
wall and CPU seconds, medians of the repeats; progress goes to the standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from common import log, machine, print_json

POLICIES = ("ACTIVE", "", "PASSIVE")
"""The empty one is the library's default: threads spin for a while, and then sleep."""


def train(rows: int) -> dict[str, float]:
    """Wall and CPU seconds of one training on two features that matter and 28 that do not."""
    import lightgbm
    import numpy as np

    random = np.random.default_rng(0)
    features = random.normal(size=(rows, 30)).astype(np.float32)
    signal = features[:, 0] + features[:, 1] * features[:, 2] + random.normal(size=rows)
    data = lightgbm.Dataset(features, (signal > 0).astype(int)).construct()
    start, used = time.perf_counter(), _cpu_seconds()
    lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 2}, data, 150)
    return {"seconds": time.perf_counter() - start, "cpu_seconds": _cpu_seconds() - used}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Processes that use a core each until the block ends."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(rows: int, policy: str) -> dict[str, float]:
    """One training in a process with that policy."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if policy:
        environment["OMP_WAIT_POLICY"] = policy
    command = [sys.executable, __file__, "--train", "--rows", str(rows)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    times: dict[str, float] = json.loads(process.stdout)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--busy", type=int, default=2, help="busy loops beside the training")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        print_json(train(options.rows))
        return
    results = {}
    for number in (0, options.busy):
        with busy_loops(number):
            runs: dict[str, list[dict[str, float]]] = {policy: [] for policy in POLICIES}
            for _ in range(options.repeats):
                for policy in POLICIES:
                    runs[policy].append(measure(options.rows, policy))
                    log(f"{number} busy loops, {policy or 'default'}: {runs[policy][-1]}")
        results[f"{number} busy loops"] = {
            policy or "default": {
                name: round(statistics.median(run[name] for run in found), 2) for name in found[0]
            }
            for policy, found in runs.items()
        }
    print_json({"machine": machine(), "rows": options.rows, "results": results})


if __name__ == "__main__":
    main()
