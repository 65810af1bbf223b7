"""Runs with a clock that is a year ahead or a month behind, and that jumps.

    python benchmarks/clock.py [--only WORD …]

Needs libfaketime (Debian: apt-get install faketime), which moves the clock of single processes. The
next day's run of a tiny shop is done under moved clocks: from its beginning, from the training on,
and after a run that was killed under another clock. Features, predictions and release must equal
those of a run under the true clock, in a bounded time. Meanwhile this process, under the true
clock, holds a draft of the warehouse and a build of a release, and a run of the UI is unfinished:
all three must still be there. Prints JSON.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from common import log, machine, print_json
from kills import stage_of
from shop_home import Answers, ShopHome, make_shop

from batch_predictions.serving.release.release_pruning import register_publisher
from batch_predictions.serving.store.store import Store
from batch_predictions.warehouse.partition_files import scratch_dir

YEAR, MONTH = 365, -31
LIBRARY = "faketime/libfaketimeMT.so.1"
TIMEOUT_SECONDS = 900
"""A run takes less than a minute: one that takes longer hangs, and is killed."""


@dataclass(frozen=True)
class Scenario:
    """Clocks of a run.

    Attributes:
        name: what it is called.
        days: by how many days the clock is moved.
        later: by how many from the training on; None: it does not jump.
        killed_days: by how many in a run before it, which is killed at its release; None: none.
    """

    name: str
    days: int
    later: int | None = None
    killed_days: int | None = None


SCENARIOS = (
    Scenario("a year ahead", YEAR),
    Scenario("a month behind", MONTH),
    Scenario("jumps a year ahead in the run", 0, later=YEAR),
    Scenario("jumps a month back in the run", 0, later=MONTH),
    Scenario("a year ahead, killed, then true", 0, killed_days=YEAR),
    Scenario("killed, then a year ahead", YEAR, killed_days=0),
    Scenario("killed, then a month behind", MONTH, killed_days=0),
)


@dataclass
class Result:
    """What became of a scenario."""

    scenario: str
    seconds: float
    problems: list[str] = field(default_factory=list)


def find_library() -> Path | None:
    """The library that moves a process's clock; None: it is not installed."""
    return next(iter(sorted(Path("/usr/lib").glob(f"*/{LIBRARY}"))), None)


def clock_variables(offset: Path) -> dict[str, str]:
    """Variables of a process whose clock is moved by the offset in a file."""
    library = find_library()
    if library is None:
        raise SystemExit("libfaketime is missing: apt-get install faketime")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        # As the kernel does: a clock that is set moves neither waits nor the times of files.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def set_clock(offset: Path, days: int) -> None:
    """Moves the clock of the processes that read an offset."""
    offset.write_text(f"{days:+d}d\n")


def run_with_clock(shop: ShopHome, offset: Path, scenario: Scenario) -> tuple[int, str]:
    """Does the run; its exit code, and the last line of its standard error."""
    set_clock(offset, scenario.days)
    process = shop.start(**clock_variables(offset))
    assert process.stderr is not None
    watch = threading.Timer(TIMEOUT_SECONDS, process.kill)
    watch.start()
    last = ""
    for line in process.stderr:
        last = line.rstrip() or last
        if scenario.later is not None and stage_of(last) == "training":
            set_clock(offset, scenario.later)
    watch.cancel()
    return process.wait(), last


def kill_at_release(shop: ShopHome, offset: Path, days: int) -> None:
    """Kills a run when its release begins."""
    set_clock(offset, days)
    process = shop.start(**clock_variables(offset))
    assert process.stderr is not None
    for line in process.stderr:
        if stage_of(line.rstrip()) == "release":
            process.kill()
    process.wait()


@contextmanager
def alive(shop: ShopHome, problems: list[str]) -> Iterator[None]:
    """Holds a draft, a build and a run of the UI; what is gone at the end is a problem."""
    with dg.DagsterInstance.from_config(str(shop.home / "dagster")) as instance:
        run = instance.create_run_for_job(_of_the_ui, status=dg.DagsterRunStatus.STARTED)
        with (
            Store(shop.url) as store,
            scratch_dir(shop.home / "warehouse") as draft,
            register_publisher(store) as builder,
        ):
            yield
            if not draft.is_dir():
                problems.append("the draft of a live process was removed")
            dead = subprocess.run(
                [sys.executable, "-c", _IS_DEAD, shop.url, builder], capture_output=True, text=True
            )
            if dead.stdout.strip() != "False":
                problems.append(f"the build of a live process was taken for dead: {dead.stderr}")
        if instance.get_run_by_id(run.run_id) is None:
            problems.append("an unfinished run of the UI was removed")


@dg.job(name="of_the_ui")
def _of_the_ui() -> None:
    """A job without steps."""


_IS_DEAD = """
import sys
from batch_predictions.serving.store.store import Store
from batch_predictions.serving.release.release_pruning import is_dead
store = Store(sys.argv[1])
with store.write() as db:
    print(is_dead(store, db, sys.argv[2]))
"""


def play(
    shop: ShopHome, saved: Path, scenario: Scenario, tables: dict[str, str], answers: Answers
) -> Result:
    """Plays a scenario on a copied home."""
    shop.restore(saved)
    offset = shop.root / "clock"
    if scenario.killed_days is not None:
        kill_at_release(shop, offset, scenario.killed_days)
    result = Result(scenario.name, 0.0)
    with alive(shop, result.problems):
        start = time.perf_counter()
        code, last = run_with_clock(shop, offset, scenario)
        result.seconds = round(time.perf_counter() - start, 1)
    if code:
        result.problems.append(f"exit code {code}: {last[:300]}")
    elif shop.tables() != tables:
        result.problems.append("other rows")
    elif shop.answers() != answers:
        result.problems.append("another release")
    # The next run under the true clock has nothing to repair.
    after = shop.execute()
    if after.returncode or shop.tables() != tables:
        result.problems.append(f"the run after it: {after.stderr.splitlines()[-1][:300]}")
    return result


def main() -> int:
    """Prints the figures; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", nargs="*", default=[""], help="words of scenarios")
    words = parser.parse_args().only
    with tempfile.TemporaryDirectory(prefix="clock-") as folder:
        shop, saved = make_shop(Path(folder) / "shop"), Path(folder) / "saved"
        shutil.copytree(shop.home, saved)
        start = time.perf_counter()
        shop.run()
        seconds = round(time.perf_counter() - start, 1)
        tables, answers = shop.tables(), shop.answers()
        results = []
        for scenario in SCENARIOS:
            if not any(word in scenario.name for word in words):
                continue
            results.append(play(shop, saved, scenario, tables, answers))
            log(results[-1])
    output: dict[str, Any] = {
        "machine": machine(),
        "seconds_under_the_true_clock": seconds,
        "scenarios": [asdict(result) for result in results],
    }
    print_json(output)
    return int(any(result.problems for result in results))


if __name__ == "__main__":
    sys.exit(main())
