"""Memory and speed on a long partition: users streamed from Parquet through top-k to Parquet.

    batch-predictions benchmark memory --json [--users 1000000] [--items 100000]

64 factors, k = 20, two instances. Every step runs in a separate process, which reports its peak
resident memory, memory-mapped files included; rows per second are given for every tenth of the
users.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from common import log, machine, print_json

from batch_predictions.cli.console.options import Json

FACTORS, K, SHARD_ROWS = 64, 20, 8192
STEPS = ("stage", "score", "load")


def measure(users: int = 1_000_000, items: int = 100_000, folder: Path | None = None) -> Any:
    """Peak memory of all steps, and rows per second by tenth of the users."""
    from catalogue import write_catalogue

    with tempfile.TemporaryDirectory(prefix="benchmark-memory-", dir=folder) as name:
        log(f"writing {users:,} users and {items:,} items")
        write_catalogue(Path(name), users, items, FACTORS)
        steps = {}
        for step in STEPS:
            process = subprocess.run(
                [sys.executable, __file__, "--step", step, "--folder", name],
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            steps[step] = json.loads(process.stdout.splitlines()[-1])
            log(step, steps[step])
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


def run_step(step: str, folder: Path) -> dict[str, Any]:
    """Runs one step in this process."""
    from catalogue import PARTITION, open_warehouse, stage_users

    from batch_predictions.inference.partition_loading import load_partition
    from batch_predictions.inference.pools import engine
    from batch_predictions.settings import InferenceSettings
    from batch_predictions.tables import RECOMMENDATIONS

    manifest_file = folder / "manifest.txt"
    started = time.perf_counter()
    report: dict[str, Any] = {}
    if step == "stage":
        manifest_file.write_text(str(stage_users(folder, K, SHARD_ROWS)))
    elif step == "score":
        progress: list[tuple[float, float, int]] = []
        engine.score(
            Path(manifest_file.read_text()),
            InferenceSettings(workers=2, device="cpu"),
            lambda scored, _: progress.append((time.perf_counter(), time.process_time(), scored)),
        )
        report = {
            "rows_per_second_by_tenth": _rates_by_tenth(progress, 0),
            "rows_per_cpu_second_by_tenth": _rates_by_tenth(progress, 1),
        }
    else:
        warehouse, path = open_warehouse(folder), Path(manifest_file.read_text())
        loaded = load_partition(warehouse, RECOMMENDATIONS, path)
        report = {"partition": PARTITION, "rows": loaded.main.rows}
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        **report,
    }


def _rates_by_tenth(progress: list[tuple[float, float, int]], clock: int) -> list[int]:
    """Rows per second of every tenth of the rows, without the time of opening the model.

    Args:
        progress: wall and CPU seconds and the number of scored rows, at the end of every shard.
        clock: 0 for wall, 1 for CPU seconds, which other programs disturb less.
    """
    first, last = progress[0][2], progress[-1][2]
    bounds = [first + (last - first) * tenth / 10 for tenth in range(11)]
    entries = [next(entry for entry in progress if entry[2] >= bound) for bound in bounds]
    return [
        round((end[2] - start[2]) / (end[clock] - start[clock]))
        for start, end in itertools.pairwise(entries)
    ]


def main(
    users: Annotated[int, typer.Option(help="Users to score.")] = 1_000_000,
    items: Annotated[int, typer.Option(help="Items of the catalogue.")] = 100_000,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder for the generated rows. [default: a temporary folder]"),
    ] = None,
    step: Annotated[str | None, typer.Option(hidden=True)] = None,
    as_json: Json = False,
) -> None:
    """Peak memory and throughput of a million users streamed from Parquet to Parquet."""
    if step and folder:
        print_json(run_step(step, folder), in_one_line=True)
    else:
        print_json(measure(users, items, folder), as_json)


if __name__ == "__main__":
    typer.run(main)
