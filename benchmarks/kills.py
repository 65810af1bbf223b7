"""Kills `batch-predictions run` at random moments, and compares what becomes of the home.

    python benchmarks/kills.py [--kills 100] [--seed 1] [--places PLACE …] [--signals INT TERM]
    .ci/with-postgres python benchmarks/kills.py

A tiny shop has released its first days; the next day's run ingests, trains a week, predicts and
releases. A round copies that home and kills the run once in every stage, at a random moment of it:
by SIGKILL, on this host, under another host's name, and as process 1 of a namespace of its own (as
in a container). Meanwhile a process reads whole tables of the current release. Then the run is left
alone: features, predictions and release must equal those of a home that was never disturbed.
Releases go to SQLite, and to PostgreSQL where BATCH_PREDICTIONS_TEST_POSTGRES names a server.
Namespaces need root. With `--signals INT TERM` runs on this host are stopped by one of these, sent
to the process or to its group: each must end with its exit code and one line, and leave no process
and no unfinished run of Dagster.
Prints JSON: kills by stage, place, store and signal, and everything that was wrong.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import log, machine, print_json
from databases import create_database
from release_reader import Reader, Report, WholeTables
from shop_home import SERVING_URL, Answers, ShopHome, make_shop

sys.path.insert(0, str(Path(__file__).parents[1]))

from batch_predictions_tests.worlds.home_processes import processes_left, unfinished_runs

STAGES = ("start", "ingest", "training", "scoring", "load", "release")
ORDER = {"start": -1, "ingest": 0, "training": 1, "scoring": 2, "load": 2, "release": 3}
"""Weekly predictions are loaded before daily ones are scored."""
POSTGRES = "BATCH_PREDICTIONS_TEST_POSTGRES"
PLACES: dict[str, tuple[str, ...]] = {
    "this host": (),
    "another host": ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"'),
    "process 1": ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"),
}
"""What a run is started with, by the place where it seems to run."""


def stage_of(line: str) -> str | None:
    """The stage that begins with a line of a run's progress; None for other lines."""
    title = line.partition(" s  ")[2]
    if title.startswith("raw "):
        return "ingest"
    if title.startswith("models "):
        return "training"
    if title == "serving release":
        return "release"
    name, _, step = title.partition(": ")
    if name.isidentifier() and step in ("stage", "score", "load"):
        return "load" if step == "load" else "scoring"
    return None


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing disturbed.

    Attributes:
        saved: the home before it.
        database: the store before it, to copy; None: SQLite, in the home.
        tables: hashes of its tables.
        known: tables of the releases before and after it.
        lines: how many lines begin a stage.
        gaps: for each stage the seconds from a line that begins it to the next such line.
    """

    saved: Path
    database: str | None
    tables: dict[str, str]
    known: dict[str, Answers]
    lines: Counter[str]
    gaps: dict[str, list[float]]


@dataclass
class Round:
    """What happened in a round.

    Attributes:
        store: sqlite or postgresql.
        place: where its runs seemed to be.
        kills: stages in which a run was killed.
        signals: what it was killed by.
        seconds: that runs took to end after a signal.
        finished: stages in which a run went on to its end in spite of a signal.
        report: of the reading process.
        problems: what was wrong.
    """

    store: str
    place: str
    kills: list[str] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    report: Report = field(default_factory=Report)
    problems: list[str] = field(default_factory=list)


def release_answers(shop: ShopHome) -> dict[str, Answers]:
    """The tables of the current release, by its id."""
    answers = shop.answers()
    [release] = [r for r in shop.run("releases", "list", "--json") if r["current"]]
    return {release["release_id"]: answers}


def observe(shop: ShopHome, saved: Path, database: str | None) -> Undisturbed:
    """Runs the next day undisturbed, and notes the times of its stages."""
    known = release_answers(shop)
    gaps: dict[str, list[float]] = {stage: [] for stage in STAGES}
    process = shop.start()
    previous: tuple[str, float] | None = None
    for stage, moment in _stage_lines(process):
        if previous:
            gaps[previous[0]].append(moment - previous[1])
        previous = stage, moment
    process.wait()
    assert previous is not None and process.returncode == 0
    gaps[previous[0]].append(time.monotonic() - previous[1])
    known |= release_answers(shop)
    lines = Counter({stage: len(seconds) for stage, seconds in gaps.items()})
    return Undisturbed(saved, database, shop.tables(), known, lines, gaps)


def _stage_lines(process: subprocess.Popen[str]) -> Iterator[tuple[str, float]]:
    """Stages that begin, and when, as a process prints them."""
    assert process.stderr is not None
    yield "start", time.monotonic()
    for line in process.stderr:
        if stage := stage_of(line.rstrip()):
            yield stage, time.monotonic()


def run_and_kill(
    shop: ShopHome,
    base: Undisturbed,
    target: str,
    generator: random.Random,
    number: signal.Signals,
    result: Round,
) -> None:
    """Starts the run and sends it a signal in a stage; fills in what came of it."""
    prefix = PLACES[result.place] or ("setsid",)
    if result.place == "another host":
        prefix = (*prefix, f"pod-{generator.randrange(1000)}")
    line = generator.randrange(base.lines[target])
    delay = generator.random() * base.gaps[target][line]
    process = shop.start(prefix=prefix)
    # Its pipe is read to the end, so that it never waits for this process.
    drain = threading.Thread(target=lambda: process.stdout and process.stdout.read(), daemon=True)
    drain.start()
    now, seen = "start", 0
    for stage, _ in _stage_lines(process):
        now, seen = stage, seen + (stage == target)
        # After earlier kills some of the stage's work is done already.
        if seen > line or ORDER[stage] > ORDER[target]:
            break
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        begin = time.monotonic()
        if number == signal.SIGKILL or generator.random() < 0.5:
            process.send_signal(number)
        else:
            # As a terminal does: to the whole group.
            os.killpg(process.pid, number)
        assert process.stderr is not None
        errors = process.stderr.read()
        if process.wait() == 0:
            result.finished.append(now)
            return
        result.seconds.append(time.monotonic() - begin)
        result.kills.append(now)
        result.signals.append(number.name)
        if number != signal.SIGKILL:
            result.problems += _wrong_endings(shop, process, number, errors)


def _wrong_endings(
    shop: ShopHome, process: subprocess.Popen[str], number: signal.Signals, errors: str
) -> Iterator[str]:
    """What is wrong with how a run ended after a signal, and with what it left."""
    # Its interpreter may not have begun yet.
    if process.returncode not in (128 + number, -number):
        yield f"exit code {process.returncode} after {number.name}"
    lines = [line for line in errors.splitlines() if stage_of(line) is None]
    if process.returncode > 0 and sum("stopped by" in line for line in lines) != 1:
        yield f"no line after {number.name}: {lines[-1:]}"
    if "Traceback" in errors:
        yield f"a traceback after {number.name}: {lines[-1:]}"
    for command in processes_left(shop.home):
        yield f"a process is left after {number.name}: {command}"
    if count := unfinished_runs(shop.home):
        yield f"{count} unfinished runs of Dagster after {number.name}"


def play_round(
    shop: ShopHome,
    base: Undisturbed,
    result: Round,
    generator: random.Random,
    signals: Sequence[signal.Signals],
) -> Round:
    """Kills runs of a copied home, then lets one end, and compares."""
    shop.restore(base.saved)
    if base.database:
        server = os.environ[POSTGRES]
        shop.variables[SERVING_URL] = create_database(server, "kills", base.database)
    reader = Reader(shop.url, WholeTables(base.known))
    try:
        for target in STAGES:
            run_and_kill(shop, base, target, generator, generator.choice(signals), result)
        process = shop.execute()
        if process.returncode:
            result.problems.append(process.stderr.splitlines()[-1])
        elif shop.tables() != base.tables:
            result.problems.append(f"other rows: {_differences(shop.tables(), base.tables)}")
        elif not release_answers(shop).items() <= base.known.items():
            result.problems.append("another release")
    finally:
        result.report = reader.stop()
    result.problems += result.report.mixed + result.report.failed
    return result


def _differences(tables: dict[str, str], expected: dict[str, str]) -> list[str]:
    names = sorted(tables.keys() | expected.keys())
    return [name for name in names if tables.get(name) != expected.get(name)][:5]


def prepare(root: Path, server: str | None) -> tuple[ShopHome, Undisturbed]:
    """A shop with its store, and what an undisturbed run makes of it."""
    database = "kills_base" if server else None
    # The shop is released to a database that every round copies.
    variables = {SERVING_URL: create_database(server, "kills_base")} if server else {}
    root.mkdir()
    shop = make_shop(root, variables)
    saved = root / "saved"
    shutil.copytree(shop.home, saved)
    if server:
        shop.variables[SERVING_URL] = create_database(server, "kills", "kills_base")
    return shop, observe(shop, saved, database)


def measure(
    folder: Path, kills: int, seed: int, places: Sequence[str], signals: Sequence[signal.Signals]
) -> list[Round]:
    """Plays rounds over all stores and places, until there were enough kills."""
    generator = random.Random(seed)
    stores: dict[str, str | None] = {"sqlite": None}
    if server := os.environ.get(POSTGRES):
        stores["postgresql"] = server
    prepared = {name: prepare(folder / name, url) for name, url in stores.items()}
    rounds: list[Round] = []
    for place, store in itertools.cycle(itertools.product(places, stores)):
        if sum(len(done.kills) for done in rounds) >= kills:
            break
        shop, base = prepared[store]
        rounds.append(play_round(shop, base, Round(store, place), generator, signals))
        log(f"{store}, {place}: {rounds[-1].kills} {rounds[-1].problems[:2]}")
    return rounds


def summarise(rounds: Sequence[Round]) -> dict[str, Any]:
    """The figures of all rounds."""
    return {
        "machine": machine(),
        "rounds": len(rounds),
        "kills": sum(len(r.kills) for r in rounds),
        "kills_by_stage": Counter(stage for r in rounds for stage in r.kills),
        "kills_by_place": {p: sum(len(r.kills) for r in rounds if r.place == p) for p in PLACES},
        "kills_by_signal": Counter(name for r in rounds for name in r.signals),
        "finished_in_spite_of_a_signal": Counter(stage for r in rounds for stage in r.finished),
        "most_seconds_to_end": max((s for r in rounds for s in r.seconds), default=None),
        "kills_by_store": {
            s: sum(len(r.kills) for r in rounds if r.store == s)
            for s in sorted({r.store for r in rounds})
        },
        "reads": sum(r.report.reads for r in rounds),
        "failed": sum(len(r.report.failed) for r in rounds),
        "mixed": sum(len(r.report.mixed) for r in rounds),
        "rounds_with_both_releases_read": sum(len(r.report.releases) == 2 for r in rounds),
        "unequal": sum(bool(r.problems) for r in rounds),
        "problems": [problem for r in rounds for problem in r.problems],
    }


def main() -> int:
    """Prints the figures; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--places", nargs="*", choices=PLACES, default=list(PLACES))
    parser.add_argument("--signals", nargs="*", choices=["KILL", "INT", "TERM"], default=["KILL"])
    arguments = parser.parse_args()
    signals = [signal.Signals[f"SIG{name}"] for name in arguments.signals]
    # `unshare` does not pass a signal on to process 1.
    places = ["this host"] if signals != [signal.SIGKILL] else arguments.places
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        rounds = measure(Path(folder), arguments.kills, arguments.seed, places, signals)
    result = summarise(rounds)
    print_json(result)
    return int(bool(result["problems"]))


if __name__ == "__main__":
    sys.exit(main())
