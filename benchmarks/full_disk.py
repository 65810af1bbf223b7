"""Runs on a disk that gets full, at many sizes of the space that is left, and at every step.

    python benchmarks/full_disk.py [--sizes 12] [--steps 24] [--seed 1]
    python benchmarks/full_disk.py --sizes 1 --dagster-apart

The home of a tiny shop is in a file system of its own in memory (which needs root). A filler leaves
some of its space: from the beginning of the next day's run, in sizes from none to a little more
than the run needs, or from a step of it on, almost none. Dagster's records are the first that do
not fit; with `--dagster-apart` they are on another disk, so that the platform's own files are. The
run must end with one line and exit code 5, or succeed. Then the filler is removed, and the run
after it must give the features, predictions and release of a home whose disk was never full. Prints
JSON: exit codes, in which stage runs ended, and everything that was wrong. Not covered: a full disk
of the serving store alone, of temporary files outside the home, and of a PostgreSQL server.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import log, machine, print_json
from kills import stage_of
from shop_home import Answers, ShopHome, make_shop

DISK_MIB = 256
FILLER = "filler"
APART = "dagster"
"""A folder beside the saved home, if Dagster's records are on another disk."""
FULL = 5
"""Exit code of a machine without space."""


@dataclass
class Trial:
    """A run with little space.

    Attributes:
        free: bytes that were left.
        step: after so many steps had begun; 0: from the beginning.
        code: its exit code.
        stage: the last stage that it began.
        line: the last line of its standard error.
        problems: what was wrong.
    """

    free: int
    step: int
    code: int
    stage: str
    line: str
    problems: list[str] = field(default_factory=list)


@contextmanager
def file_system(folder: Path) -> Iterator[Path]:
    """A file system in memory, mounted at a new folder."""
    folder.mkdir()
    options = f"size={DISK_MIB}m,nr_inodes=0"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def free_bytes(folder: Path) -> int:
    """Bytes that can still be written."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def fill(disk: Path, free: int) -> None:
    """Leaves so many bytes of a disk, on which others may write at the same time."""
    with (disk / FILLER).open("wb") as file:
        size = 0
        while (more := free_bytes(disk) - free) > 0:
            with suppress(OSError):
                os.posix_fallocate(file.fileno(), size, more)
                size += more


def run_and_fill(shop: ShopHome, free: int, step: int) -> Trial:
    """Runs, and fills the disk when a step begins; whether the run ended as it should."""
    if not step:
        fill(shop.root, free)
    process = shop.start()
    assert process.stderr is not None
    lines, stages = [], []
    for line in process.stderr:
        lines.append(line.strip())
        if stage := stage_of(line.rstrip()):
            stages.append(stage)
            if len(stages) == step:
                fill(shop.root, free)
    code, last = process.wait(), next(filter(None, reversed(lines)), "")
    trial = Trial(free, step, code, stages[-1] if stages else "start", last[:300])
    own = [line for line in lines if line.startswith("batch-predictions: ")]
    if code not in (0, FULL):
        trial.problems.append(f"exit code {code}: {last[:300]}")
    elif code and own != [last]:
        trial.problems.append(f"not one line of the command: {last[:300]}")
    traces = [number for number, line in enumerate(lines) if "Traceback" in line]
    if traces:
        shown = " | ".join(lines[max(0, traces[0] - 2) : traces[0] + 60])
        trial.problems.append(f"a traceback: {shown}")
    return trial


def try_full_disk(
    shop: ShopHome, saved: Path, free: int, step: int, tables: dict[str, str], answers: Answers
) -> Trial:
    """Runs on a disk that is or gets full, then on one with space."""
    shop.restore(saved)
    move_dagster(shop, saved)
    trial = run_and_fill(shop, free, step)
    (shop.root / FILLER).unlink(missing_ok=True)
    process = shop.execute()
    if process.returncode:
        trial.problems.append(f"with space again: {process.stderr.splitlines()[-1]}")
    elif shop.tables() != tables:
        trial.problems.append("other rows with space again")
    elif shop.answers() != answers:
        trial.problems.append("another release with space again")
    return trial


def observe(shop: ShopHome) -> tuple[int, int]:
    """Runs undisturbed: the most bytes that the run needed, and the number of its steps."""
    before = free_bytes(shop.root)
    process = shop.start()
    assert process.stderr is not None
    ended = threading.Event()
    lowest = [before]

    def watch() -> None:
        while not ended.wait(0.01):
            lowest[0] = min(lowest[0], free_bytes(shop.root))

    watcher = threading.Thread(target=watch)
    watcher.start()
    steps = sum(stage_of(line.rstrip()) is not None for line in process.stderr)
    ended.set()
    watcher.join()
    if process.wait():
        raise SystemExit("the undisturbed run failed")
    return before - lowest[0], steps


def move_dagster(shop: ShopHome, saved: Path) -> None:
    """Moves Dagster's records to the disk of the saved home, if that has a folder for them."""
    apart = saved.with_name(APART)
    if apart.is_dir():
        shutil.rmtree(apart)
        shutil.move(shop.home / "dagster", apart)
        (shop.home / "dagster").symlink_to(apart)


def sizes_of(needed: int, number: int, generator: random.Random) -> list[int]:
    """Sizes from none to a little more than needed, one at random in each of equal intervals."""
    step = needed * 1.1 / number
    return [0, *(int(step * (n + generator.random())) for n in range(number - 1))]


def measure(disk: Path, saved: Path, sizes: int, steps: int, seed: int) -> list[Trial]:
    """Tries many sizes, and many steps."""
    shop, generator = make_shop(disk), random.Random(seed)
    shutil.copytree(shop.home, saved)
    move_dagster(shop, saved)
    needed, all_steps = observe(shop)
    tables, answers = shop.tables(), shop.answers()
    log(f"a run needs {needed / 2**20:.1f} MiB and has {all_steps} steps")
    cases = [(free, 0) for free in sizes_of(needed, sizes, generator)]
    for number in range(steps):
        cases.append((generator.randrange(200_000), 1 + number * all_steps // steps))
    trials = []
    for free, step in cases:
        trials.append(try_full_disk(shop, saved, free, step, tables, answers))
        log(trials[-1])
    return trials


def summarise(trials: Sequence[Trial]) -> dict[str, Any]:
    """The figures of all trials."""
    return {
        "machine": machine(),
        "sizes": sum(not trial.step for trial in trials),
        "steps": sum(trial.step > 0 for trial in trials),
        "largest_mib": round(max(trial.free for trial in trials) / 2**20, 2),
        "exit_codes": Counter(trial.code for trial in trials),
        "ended_in": Counter(trial.stage for trial in trials if trial.code),
        "lines": sorted({trial.line for trial in trials if trial.code}),
        "problems": [f"{trial.free}: {p}" for trial in trials for p in trial.problems],
    }


def main() -> int:
    """Prints the figures; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--sizes", type=int, default=12)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dagster-apart", action="store_true")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="full-") as folder,
        file_system(Path(folder) / "disk") as disk,
    ):
        if arguments.dagster_apart:
            (Path(folder) / APART).mkdir()
        trials = measure(
            disk, Path(folder) / "saved", arguments.sizes, arguments.steps, arguments.seed
        )
    result = summarise(trials)
    print_json(result)
    return int(bool(result["problems"]))


if __name__ == "__main__":
    sys.exit(main())
