"""Runs on a disk that gets full, at many sizes of the space that is left.

    python benchmarks/full_disk.py [--sizes 24] [--seed 1]

The home of a tiny shop is in a file system of its own in memory (which needs root). For every size,
from none to a little more than a run needs, a filler leaves that much space; the next day's run
must end with one line and exit code 5, or succeed. Then the filler is removed, and the run after it
must give the features, predictions and release of a home whose disk was never full. Prints JSON:
exit codes, in which stage runs ended, and everything that was wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import log, machine, print_json
from kills import stage_of
from shop_home import Answers, ShopHome, make_shop

DISK_MIB = 256
FULL = 5
"""Exit code of a machine without space."""


@dataclass
class Trial:
    """A run with little space.

    Attributes:
        free: bytes that were left.
        code: its exit code.
        stage: the last stage that it began.
        line: the last line of its standard error.
        problems: what was wrong.
    """

    free: int
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


@contextmanager
def filled(disk: Path, free: int) -> Iterator[None]:
    """Leaves so many bytes of a disk."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free_bytes(disk) - free, 1))
    try:
        yield
    finally:
        filler.unlink()


def judge(process: subprocess.CompletedProcess[str], free: int) -> Trial:
    """Whether a run with little space ended as it should."""
    lines = [line for line in process.stderr.splitlines() if line.strip()]
    stages = [stage for line in lines if (stage := stage_of(line))]
    last = lines[-1] if lines else ""
    trial = Trial(free, process.returncode, stages[-1] if stages else "start", last[:300])
    if process.returncode not in (0, FULL):
        trial.problems.append(f"exit code {process.returncode}: {last[:300]}")
    elif process.returncode and not last.startswith("batch-predictions: "):
        trial.problems.append(f"no line of the command: {last[:300]}")
    own = [line for line in lines if line.startswith("batch-predictions: ")]
    if len(own) > 1 or "Traceback" in process.stderr:
        trial.problems.append("more than one line")
    return trial


def try_size(
    shop: ShopHome,
    saved: Path,
    free: int,
    tables: dict[str, str],
    answers: Answers,
) -> Trial:
    """Runs with so much space, then with enough."""
    shop.restore(saved)
    with filled(shop.root, free):
        trial = judge(shop.execute(), free)
    process = shop.execute()
    if process.returncode:
        trial.problems.append(f"with space again: {process.stderr.splitlines()[-1]}")
    elif shop.tables() != tables:
        trial.problems.append("other rows with space again")
    elif shop.answers() != answers:
        trial.problems.append("another release with space again")
    return trial


def sizes_of(needed: int, number: int, generator: random.Random) -> list[int]:
    """Sizes from none to a little more than needed, one at random in each of equal intervals."""
    step = needed * 1.1 / number
    return [0, *(int(step * (n + generator.random())) for n in range(number - 1))]


def measure(disk: Path, saved: Path, number: int, seed: int) -> list[Trial]:
    """Tries many sizes."""
    shop = make_shop(disk)
    shutil.copytree(shop.home, saved)
    before = free_bytes(disk)
    shop.run()
    tables, answers = shop.tables(), shop.answers()
    needed = before - free_bytes(disk)
    log(f"a run needs {needed / 2**20:.1f} MiB")
    trials = []
    for free in sizes_of(needed, number, random.Random(seed)):
        trials.append(try_size(shop, saved, free, tables, answers))
        log(trials[-1])
    return trials


def summarise(trials: Sequence[Trial]) -> dict[str, Any]:
    """The figures of all trials."""
    return {
        "machine": machine(),
        "sizes": len(trials),
        "largest_mib": round(max(trial.free for trial in trials) / 2**20, 2),
        "exit_codes": Counter(trial.code for trial in trials),
        "ended_in": Counter(trial.stage for trial in trials if trial.code),
        "lines": sorted({trial.line for trial in trials if trial.code}),
        "problems": [f"{trial.free}: {p}" for trial in trials for p in trial.problems],
    }


def main() -> int:
    """Prints the figures; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--sizes", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="full-") as folder:
        with file_system(Path(folder) / "disk") as disk:
            trials = measure(disk, Path(folder) / "saved", arguments.sizes, arguments.seed)
    result = summarise(trials)
    print_json(result)
    return int(bool(result["problems"]))


if __name__ == "__main__":
    sys.exit(main())
