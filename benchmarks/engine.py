"""The engine against a bare loop over the same batches: overhead, two workers, Ray, SIGKILL.

    batch-predictions benchmark engine --json [--seconds 60] [--ray]
    batch-predictions benchmark engine --json --folder FOLDER [--only bare,one]

Every mode scores the same users against the same catalogue (20,000 items, 64 factors, k = 20). In
every repeat the modes run one after the other, each in a new process, which reports wall and CPU
seconds, those of its children included. `--seconds` is the target duration of the bare loop. The
results of all modes are compared by the hash of their bytes; then a run is killed by SIGKILL
half-way and started again.

`--folder` keeps the staged users and the times of finished modes, so that an interrupted benchmark
continues; with `--only`, modes can be run one at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from common import Repeats, log, machine, print_json

from batch_predictions.cli.console.options import Json

ITEMS, FACTORS, K, SHARD_ROWS = 20_000, 64, 20, 4096
KILLED = "killed"


def measure(
    seconds: float = 60,
    repeats: int = 5,
    ray: bool = False,
    folder: Path | None = None,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Median times of all modes, and their ratios.

    Args:
        seconds: target duration of the bare loop.
        repeats: number of runs of every mode, those kept in the folder included.
        ray: whether to run the Ray engine.
        folder: where users and times are kept; None: nowhere.
        only: modes to run, of bare, one, two, ray and killed; empty: all.

    Raises:
        ValueError: the folder was written for another duration, or a mode is unknown.
    """
    modes = ["bare", "one", "two", *(["ray"] if ray or "ray" in only else []), KILLED]
    if unknown := set(only) - set(modes):
        raise ValueError(f"unknown modes {', '.join(sorted(unknown))}; known: {', '.join(modes)}")
    with _open_folder(folder) as work_folder:
        workload = _prepare(work_folder, seconds)
        path = Path(workload["manifest"])
        times = _TimesFile(work_folder / "times.jsonl")
        for repeat in range(repeats):
            for mode in modes:
                is_selected = mode != KILLED and (not only or mode in only)
                if is_selected and len(times.read(mode)) <= repeat:
                    times.append(mode, _run(mode, path))
        if (not only or KILLED in only) and not times.read(KILLED):
            times.append(KILLED, _kill_and_resume(path))
        return _summarise(workload, times)


@contextlib.contextmanager
def _open_folder(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="benchmark-engine-") as name:
            yield Path(name)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()


class _TimesFile:
    """Times of finished runs, one JSON object per line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, mode: str) -> list[dict[str, Any]]:
        """The times of all runs of one mode, in order."""
        if not self.path.exists():
            return []
        runs = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return [run for run in runs if run["way"] == mode]

    def append(self, mode: str, run: dict[str, Any]) -> None:
        """Adds the times of one run."""
        log(mode, run)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"way": mode, **run}) + "\n")


def _prepare(folder: Path, seconds: float) -> dict[str, Any]:
    """Writes and stages users for a bare loop of a duration, unless the folder has them."""
    from catalogue import stage_users, write_catalogue

    file = folder / "made.json"
    if file.exists():
        workload: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if workload["seconds"] != seconds:
            raise ValueError(
                f"{folder} was written for --seconds {workload['seconds']:g}, not {seconds:g}: "
                "give that number, or another folder"
            )
        return workload
    users = round(seconds / _seconds_per_shard(folder)) * SHARD_ROWS
    log(f"{users:,} users take the bare loop {seconds:g} s")
    write_catalogue(folder, users, ITEMS, FACTORS)
    started = time.perf_counter()
    path = stage_users(folder, K, SHARD_ROWS)
    workload = {
        "seconds": seconds,
        "users": users,
        "stage_seconds": round(time.perf_counter() - started, 2),
        "manifest": str(path),
    }
    file.write_text(json.dumps(workload), encoding="utf-8")
    return workload


def _seconds_per_shard(folder: Path) -> float:
    """Seconds of the bare loop for a further shard, without opening the model."""
    from catalogue import stage_users, write_catalogue

    wall_seconds = []
    # The first run compiles kernels, which are cached, and is not used.
    for shards in (1, 8, 32):
        write_catalogue(folder, shards * SHARD_ROWS, ITEMS, FACTORS)
        path = stage_users(folder, K, SHARD_ROWS)
        wall_seconds.append(_run("bare", path)["wall_seconds"])
    return max(1e-3, (wall_seconds[2] - wall_seconds[1]) / 24)


def _summarise(workload: dict[str, Any], times_file: _TimesFile) -> dict[str, Any]:
    """Median times of the modes that have run, and their ratios."""
    runs = {mode: times_file.read(mode) for mode in ("bare", "one", "two", "ray")}
    runs = {mode: mode_runs for mode, mode_runs in runs.items() if mode_runs}
    times = {
        mode: {
            f"{kind}_seconds": round(statistics.median(r[f"{kind}_seconds"] for r in mode_runs), 3)
            for kind in ("wall", "cpu", "others_cpu")
        }
        for mode, mode_runs in runs.items()
    }
    ratios = {
        "overhead": ("one", "bare", "wall"),
        "overhead_cpu": ("one", "bare", "cpu"),
        "two_workers": ("one", "two", "wall"),
        "ray_cpu_to_local": ("ray", "two", "cpu"),
        "ray_wall_to_local": ("ray", "two", "wall"),
    }
    hashes = {run["results"] for mode_runs in runs.values() for run in mode_runs} - {None}
    return {
        "users": workload["users"],
        "items": ITEMS,
        "repeats": {mode: len(mode_runs) for mode, mode_runs in runs.items()},
        "machine": machine(),
        "times": times,
        "rows_per_second": {
            mode: round(workload["users"] / seconds["wall_seconds"])
            for mode, seconds in times.items()
        },
        "stage_seconds": workload["stage_seconds"],
        **{
            name: round(times[mode][f"{kind}_seconds"] / times[base][f"{kind}_seconds"], 3)
            for name, (mode, base, kind) in ratios.items()
            if mode in times and base in times
        },
        "same_bytes_whatever_way": len(hashes) == 1 if hashes else None,
        "killed_half_way": next(iter(times_file.read(KILLED)), None),
    }


def _run(mode: str, path: Path) -> dict[str, Any]:
    """Scores all shards in a new process; returns the times that it reports."""
    shutil.rmtree(_results(path), ignore_errors=True)
    load = os.getloadavg()[0]
    process = subprocess.run(_command(mode, path), stdout=subprocess.PIPE, check=True, text=True)
    times: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return {**times, "load_before": load, "results": None if mode == "bare" else _hash(path)}


def _command(mode: str, path: Path) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("engine_modes.py")), mode, str(path)]


def _results(path: Path) -> Path:
    return path.parent.parent / "results"


def _count_results(path: Path) -> int:
    """Number of finished results; drafts have another suffix."""
    return sum(1 for _ in _results(path).glob("*.parquet"))


def _hash(path: Path) -> str:
    """Hash of the bytes of all results, in the order of the shards."""
    from batch_predictions.inference.results import StagingManifest, result_path

    digest = hashlib.sha256()
    for shard in StagingManifest.read(path).shards:
        digest.update(result_path(path, shard).read_bytes())
    return digest.hexdigest()[:16]


def _kill_and_resume(path: Path) -> dict[str, Any]:
    """Kills a run at half of the shards; counts what the next run scores, and compares bytes."""
    from batch_predictions.inference.results import StagingManifest

    shards = len(StagingManifest.read(path).shards)
    if _count_results(path) < shards:  # An earlier run was interrupted.
        _run("two", path)
    undisturbed = _hash(path)
    shutil.rmtree(_results(path))
    process = subprocess.Popen(_command("two", path), stdout=subprocess.DEVNULL)
    while _count_results(path) < shards // 2:
        if process.poll() is not None:
            raise RuntimeError("the run ended before it was killed: raise --seconds")
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    result_count = _count_results(path)
    next_run = subprocess.run(_command("two", path), stdout=subprocess.PIPE, check=True, text=True)
    return {
        "shards": shards,
        "scored_when_killed": result_count,
        "scored_by_next_run": json.loads(next_run.stdout.splitlines()[-1])["shards"],
        "same_bytes_as_undisturbed": _hash(path) == undisturbed,
    }


def main(
    seconds: Annotated[float, typer.Option(help="Duration of the bare loop.")] = 60.0,
    repeats: Repeats = 5,
    ray: Annotated[bool, typer.Option("--ray", help="The Ray engine, too.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps staged users and finished times, so that an interrupted run "
            "continues. [default: nothing is kept]"
        ),
    ] = None,
    only: Annotated[
        str,
        typer.Option(
            help="Modes to run, with commas: bare, one, two, ray, killed; with --folder the kept "
            "times of the others are used."
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """The engine and a bare loop over the same batches; two workers; a run that is killed."""
    modes = [mode.strip() for mode in only.split(",") if mode.strip()]
    try:
        result = measure(seconds, repeats, ray, folder, modes)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    print_json(result, as_json)


if __name__ == "__main__":
    typer.run(main)
