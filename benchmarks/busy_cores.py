"""What idle OpenMP threads cost beside other programs: LightGBM's training with each policy.

    python benchmarks/busy_cores.py [--rows 100000] [--busy 2] [--repeats 3]

Trains the same model in processes of its own, alternately with the library's default, with threads
that spin for 1,000 turns before they sleep (the platform's) and with threads that sleep at once,
without and with busy loops beside them. Prints one JSON object of wall and CPU seconds, median and
largest of the repeats; progress goes to the standard error.
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

POLICIES: dict[str, dict[str, str]] = {
    "default": {},
    "1,000 turns": {"GOMP_SPINCOUNT": "1000"},
    "sleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
}
"""Variables that libgomp reads when it is loaded."""


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


def measure(rows: int, variables: dict[str, str]) -> dict[str, float]:
    """One training in a process with these variables, and without others of the kind."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= variables
    command = [sys.executable, __file__, "--train", "--rows", str(rows)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    times: dict[str, float] = json.loads(process.stdout)
    return times


def main() -> None:
    """Measures a training beside busy loops."""
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
                for policy, variables in POLICIES.items():
                    runs[policy].append(measure(options.rows, variables))
                    log(f"{number} busy loops, {policy}: {runs[policy][-1]}")
        results[f"{number} busy loops"] = {
            policy: {
                f"{name} {label}": round(function(run[name] for run in found), 2)
                for name in found[0]
                for label, function in (("median", statistics.median), ("largest", max))
            }
            for policy, found in runs.items()
        }
    print_json({"machine": machine(), "rows": options.rows, "results": results})


if __name__ == "__main__":
    main()
