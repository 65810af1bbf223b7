"""The engine beside a bare loop over the same batches: overhead, two workers, Ray, SIGKILL.

    batch-predictions benchmark engine --json [--seconds 60] [--ray]
    batch-predictions benchmark engine --json --folder FOLDER [--only bare,one]

Every way scores the same users against the same catalogue (20,000 items, 64 factors, k = 20), one
after the other in every repeat, each in a fresh process, which tells its wall and CPU seconds with
those of its children. `--seconds` is what the bare loop is to take. The results of all ways are
compared by the hash of their bytes; then a run is killed by SIGKILL half-way and run again.

With `--folder`, the staged users and the times of ways that have ended are kept there: a run that
was cut off goes on, and with `--only` ways are run one at a time, or added later.
"""

from __future__ import annotations

import argparse
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
from typing import Any

from common import machine, say, show

ITEMS, FACTORS, K, SHARD_ROWS = 20_000, 64, 20, 4096
KILLED = "killed"


def measure(
    seconds: float = 60,
    repeats: int = 5,
    ray: bool = False,
    folder: Path | None = None,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Medians of all ways, and their ratios.

    Args:
        seconds: what the bare loop is to take.
        repeats: of every way, those found in the folder included.
        ray: whether the Ray engine is a way.
        folder: where users and times are kept; None: nowhere.
        only: ways to run now, of bare, one, two, ray and killed; none: all.

    Raises:
        ValueError: the folder was made for other seconds, or there is no way of that name.
    """
    ways = ["bare", "one", "two", *(["ray"] if ray or "ray" in only else []), KILLED]
    if unknown := set(only) - set(ways):
        raise ValueError(f"no way is called {', '.join(sorted(unknown))}: {', '.join(ways)}")
    with _place(folder) as place:
        made = _made(place, seconds)
        path = Path(made["manifest"])
        kept = _Kept(place / "times.jsonl")
        for repeat in range(repeats):
            for way in ways:
                wanted = way != KILLED and (not only or way in only)
                if wanted and len(kept.of(way)) <= repeat:
                    kept.add(way, _run(way, path))
        if (not only or KILLED in only) and not kept.of(KILLED):
            kept.add(KILLED, _killed(path))
        return _summary(made, kept)


@contextlib.contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="benchmark-engine-") as name:
            yield Path(name)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()


class _Kept:
    """Times of the ways that have ended, a JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def of(self, way: str) -> list[dict[str, Any]]:
        """What all runs of one way took, in turn."""
        if not self.path.exists():
            return []
        entries = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return [entry for entry in entries if entry["way"] == way]

    def add(self, way: str, entry: dict[str, Any]) -> None:
        """Notes one more run."""
        say(way, entry)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"way": way, **entry}) + "\n")


def _made(folder: Path, seconds: float) -> dict[str, Any]:
    """Users, catalogue and stage for a bare loop of so many seconds; those of before, if any."""
    from catalogue import make, stage

    note = folder / "made.json"
    if note.exists():
        made: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        if made["seconds"] != seconds:
            raise ValueError(
                f"{folder} was made for --seconds {made['seconds']:g}, not {seconds:g}: say so, "
                "or name another folder"
            )
        return made
    users = round(seconds / _seconds_a_shard(folder)) * SHARD_ROWS
    say(f"{users:,} users take the bare loop {seconds:g} s")
    make(folder, users, ITEMS, FACTORS)
    began = time.perf_counter()
    path = stage(folder, K, SHARD_ROWS)
    made = {
        "seconds": seconds,
        "users": users,
        "stage_seconds": round(time.perf_counter() - began, 2),
        "manifest": str(path),
    }
    note.write_text(json.dumps(made), encoding="utf-8")
    return made


def _seconds_a_shard(folder: Path) -> float:
    """What the bare loop takes for one more shard; opening the model is the same for any number."""
    from catalogue import make, stage

    taken = []
    # The first run compiles what is compiled once for a machine, and is not counted.
    for shards in (1, 8, 32):
        make(folder, shards * SHARD_ROWS, ITEMS, FACTORS)
        taken.append(_run("bare", stage(folder, K, SHARD_ROWS))["wall_seconds"])
    return max(1e-3, (taken[2] - taken[1]) / 24)


def _summary(made: dict[str, Any], kept: _Kept) -> dict[str, Any]:
    """Medians, and the ratios of the ways that there are."""
    taken = {way: kept.of(way) for way in ("bare", "one", "two", "ray")}
    taken = {way: entries for way, entries in taken.items() if entries}
    times = {
        way: {
            f"{kind}_seconds": round(statistics.median(e[f"{kind}_seconds"] for e in entries), 3)
            for kind in ("wall", "cpu", "others_cpu")
        }
        for way, entries in taken.items()
    }
    ratios = {
        "overhead": ("one", "bare", "wall"),
        "overhead_cpu": ("one", "bare", "cpu"),
        "two_workers": ("one", "two", "wall"),
        "ray_cpu_to_local": ("ray", "two", "cpu"),
        "ray_wall_to_local": ("ray", "two", "wall"),
    }
    hashes = {entry["results"] for entries in taken.values() for entry in entries} - {None}
    return {
        "users": made["users"],
        "items": ITEMS,
        "repeats": {way: len(entries) for way, entries in taken.items()},
        "machine": machine(),
        "times": times,
        "rows_per_second": {
            way: round(made["users"] / each["wall_seconds"]) for way, each in times.items()
        },
        "stage_seconds": made["stage_seconds"],
        **{
            name: round(times[of][f"{kind}_seconds"] / times[to][f"{kind}_seconds"], 3)
            for name, (of, to, kind) in ratios.items()
            if of in times and to in times
        },
        "same_bytes_whatever_way": len(hashes) == 1 if hashes else None,
        "killed_half_way": next(iter(kept.of(KILLED)), None),
    }


def _run(way: str, path: Path) -> dict[str, Any]:
    """Scores from nothing in a fresh process; its own account of what it took."""
    shutil.rmtree(_results(path), ignore_errors=True)
    load = os.getloadavg()[0]
    done = subprocess.run(_command(way, path), stdout=subprocess.PIPE, check=True, text=True)
    taken: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**taken, "load_before": load, "results": None if way == "bare" else _hash(path)}


def _command(way: str, path: Path) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("engine_modes.py")), way, str(path)]


def _results(path: Path) -> Path:
    return path.parent.parent / "results"


def _scored(path: Path) -> int:
    """Results that are in place; drafts have other names."""
    return sum(1 for _ in _results(path).glob("*.parquet"))


def _hash(path: Path) -> str:
    """Of the bytes of all results, in the order of the shards."""
    from batch_predictions.inference.staging import StagingManifest, result_path

    together = hashlib.sha256()
    for shard in StagingManifest.read(path).shards:
        together.update(result_path(path, shard).read_bytes())
    return together.hexdigest()[:16]


def _killed(path: Path) -> dict[str, Any]:
    """SIGKILL at half of the shards; what the next run scores, and whether the rows are equal."""
    from batch_predictions.inference.staging import StagingManifest

    shards = len(StagingManifest.read(path).shards)
    if _scored(path) < shards:  # Of the way before, unless a run was cut off meanwhile.
        _run("two", path)
    undisturbed = _hash(path)
    shutil.rmtree(_results(path))
    process = subprocess.Popen(_command("two", path), stdout=subprocess.DEVNULL)
    while _scored(path) < shards // 2:
        if process.poll() is not None:
            raise RuntimeError("the run ended before it could be killed: take more --seconds")
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = _scored(path)
    done = subprocess.run(_command("two", path), stdout=subprocess.PIPE, check=True, text=True)
    return {
        "shards": shards,
        "scored_when_killed": before,
        "scored_by_next_run": json.loads(done.stdout.splitlines()[-1])["shards"],
        "same_bytes_as_undisturbed": _hash(path) == undisturbed,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    names = [each for each in given.only.split(",") if each]
    show(measure(given.seconds, given.repeats, given.ray, given.folder, names))
