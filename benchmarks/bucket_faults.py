"""Kills, lost answers, contests and removals of old versions, of a home in a bucket.

    python benchmarks/bucket_faults.py [--kills 30] [--faults 30] [--contests 20] [--removals 5]

The bucket is moto's, an S3 server in a process of its own, behind a proxy that can drop requests,
and lose or cut answers. Every machine has a folder of its own.

- kills: a process that replaces partitions and a record is killed at random moments. A new machine,
  and then the killed one, must see each place as before or as after, and write on.
- faults: of every kind; after each write a new machine must see it, once, and no error was shown.
- contests: two machines replace one partition at once. One number must be left, of one that won;
  a machine that did not win is told.
- versions: four processes, two of them on the machine that removes old versions, read versions of
  releases and the newest rows.
Prints JSON with everything that was wrong.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, get_args
from unittest import mock

import bucket_machine as machines
import typer
from common import log, machine, print_json

sys.path.insert(0, str(Path(__file__).parents[1]))

from batch_predictions.core.home_bucket import CACHE_VARIABLE
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.bucket import Bucket, FaultyBucket, bucket_server, faulty
from batch_predictions_tests.worlds.bucket_proxy import Kind

WRITE_FAULTS = (
    ("2026-11-01", r"PUT .*_delta_log/\d+\.json", 1, 1),
    ("users", r"PUT .*_delta_log/", 1, 1),
    (machines.RECORD, r"PUT .*state\.yaml", 1, 1),
    ("2026-11-02", r"PUT .*\.parquet", 1, 2),
    ("group", "PUT ", 2, 3),
    ("2026-11-01", "GET |POST ", 3, 3),
    (machines.RECORD, "PUT ", 1, 2),
)
"""Places, with the requests that fail while they are written: a pattern, every which, how many."""


class Machines:
    """Machines that use one home.

    Args:
        bucket: of the home.
        folder: for theirs.
    """

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self.url, self.folder = bucket.url, folder
        self._number = 0

    def folder_of(self, name: str) -> str:
        """The folder of a machine."""
        return str(self.folder / name)

    def new_folder(self) -> str:
        """The folder of a new machine."""
        self._number += 1
        return self.folder_of(f"new-{self._number}")

    def open(self, folder: str | None = None) -> Warehouse:
        """The home on a machine; None: a new one. It is brought to what the bucket has."""
        with mock.patch.dict(os.environ, {CACHE_VARIABLE: folder or self.new_folder()}):
            return machines.open_home(self.url)

    @contextmanager
    def process(self, folder: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Starts a process on a machine; it is killed at the end of the block."""
        command = [sys.executable, machines.__file__, *arguments]
        root = str(Path(__file__).parents[1])
        variables = {**os.environ, CACHE_VARIABLE: folder, "PYTHONPATH": root}
        with subprocess.Popen(
            command, stdin=-1, stdout=-1, stderr=-1, text=True, env=variables
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def play_kills(home: Machines, kills: int, generator: random.Random) -> dict[str, Any]:
    """Kills writing processes of one machine; others look, and write, in between."""
    problems: list[str] = []
    interrupted: Counter[str] = Counter()
    known = dict.fromkeys(machines.PLACES, 0)
    number = writes = 0
    for count in range(kills):
        log(f"kill {count}: {writes} writes, {problems[-1:]}")
        with home.process(home.folder_of("killed"), "write", home.url, str(number + 1)) as process:
            assert process.stdout is not None and process.stderr is not None
            seen = json.loads(process.stdout.readline() or "{}")
            if seen != known:
                problems.append(f"the killed machine sees {seen}, not {known}")
            first = process.stdout.readline()
            time.sleep(generator.uniform(0.05, 1))
            process.kill()
            lines = [*map(json.loads, filter(None, [first, *process.stdout]))]
            errors = process.stderr.read()
        if errors:
            problems.append(errors[-500:])
        number += 1 + len(lines)
        possible = {place: {before} for place, before in known.items()}
        for word, place, written in lines:
            possible[place] = {written} if word == "done" else possible[place] | {written}
        writes += sum(word == "done" for word, *_ in lines)
        is_between = not lines or lines[-1][0] == "done"
        interrupted["between" if is_between else lines[-1][1]] += 1
        try:
            warehouse = home.open()
            known = machines.read_all(warehouse)
            for place in machines.PLACES:
                if known[place] not in possible[place]:
                    problems.append(f"{place}: {known[place]}, not one of {possible[place]}")
            place = generator.choice(machines.PLACES)
            machines.write(warehouse, place, number)
            known[place] = number
        except Exception as error:
            problems.append(f"a new machine: {type(error).__name__}: {error}")
    return {
        "kills": kills,
        "writes": writes,
        "interrupted": dict(interrupted),
        "problems": problems,
    }


def play_faults(home: Machines, bucket: FaultyBucket, rounds: int) -> dict[str, Any]:
    """Has requests of one machine fail while it writes, and those of new ones while they read."""
    problems: list[str] = []
    made: Counter[str] = Counter()
    writer = home.open()
    number = 0
    kinds: tuple[Kind, ...] = get_args(Kind)
    for count in range(rounds):
        place, pattern, every, most = WRITE_FAULTS[count % len(WRITE_FAULTS)]
        for kind in kinds:
            number += 1
            what = f"{kind}: {pattern}, {place} {number}"
            try:
                with bucket.faults(kind, pattern, every, most):
                    machines.write(writer, place, number)
                made[kind] += 1
                reader = home.open()
                if (seen := machines.read(reader, place)) != number:
                    problems.append(f"{what}: a new machine sees {seen}")
                with bucket.faults(kind, "GET ", 2, 5):
                    reader = home.open()
                    if (seen := machines.read(reader, place)) != number:
                        problems.append(f"{what}: a disturbed machine sees {seen}")
                made[f"{kind}, read"] += 1
                writer.refresh()
            except Exception as error:
                problems.append(f"{what}: {type(error).__name__}: {error}")
        log(f"faults {count}: {problems[-1:]}")
    return {"faults": dict(made), "problems": problems}


def play_contests(home: Machines, rounds: int) -> dict[str, Any]:
    """Has two machines replace one partition at once."""
    problems: list[str] = []
    results: Counter[str] = Counter()
    with ExitStack() as stack:
        both = [
            stack.enter_context(home.process(home.folder_of(name), "contest", home.url))
            for name in ("one", "other")
        ]

        def answers() -> list[str]:
            return [json.loads(process.stdout.readline()) for process in both if process.stdout]

        answers()
        for count in range(rounds):
            for number, process in enumerate(both, 2 * count + 1):
                assert process.stdin is not None
                process.stdin.write(f"{number}\n")
                process.stdin.flush()
            came = answers()
            results[" and ".join(sorted(came))] += 1
            winners = [2 * count + 1 + index for index, text in enumerate(came) if text == "won"]
            try:
                seen = machines.read(home.open(), machines.TABLE_PLACES[0])
                if seen not in winners or {*came} - {"won", "told"}:
                    problems.append(f"{came}: {seen} is left")
            except Exception as error:
                problems.append(f"{came}: {type(error).__name__}: {error}")
    return {"rounds": rounds, "results": dict(results), "problems": problems}


def play_versions(home: Machines, rounds: int) -> dict[str, Any]:
    """Removes old versions of a home while processes read it."""
    warehouse = home.open(home.folder_of("keeper"))
    releases: list[dict[str, Any]] = []
    for number in range(1, 6):
        for place in machines.PLACES:
            machines.write(warehouse, place, number)
        numbers = machines.read_all(warehouse, machines.TABLE_PLACES)
        releases.append({"versions": warehouse.versions(), "numbers": numbers})
    # What was replaced until now is old, what is replaced from now on is of "the last days".
    time.sleep(1)
    began = dt.datetime.now(dt.UTC)
    kept = [releases[1], releases[3]]
    readers = [_Reader(home, "keeper", kept), _Reader(home, "keeper", kept)]
    readers += [_Reader(home, name, kept) for name in ("third", "fourth")]
    removed = removed_at_last = 0
    problems: list[str] = []
    try:
        _wait(readers, 1)
        for number in range(6, 6 + rounds):
            machines.write(warehouse, machines.TABLE_PLACES[number % 4], number)
            removed += warehouse.vacuum(began, kept)
        # Those of today go, too, once every reader has the newest.
        _wait(readers, 2)
        removed_at_last = warehouse.vacuum(None, kept)
        _wait(readers, 2)
    except Exception as error:
        problems.append(f"{type(error).__name__}: {error}")
    finally:
        reads = sum(reader.stop() for reader in readers)
    problems += [problem for reader in readers for problem in reader.problems]
    return {
        "reads": reads,
        "rounds": rounds,
        "files_removed": [removed, removed_at_last],
        "problems": problems,
    }


class _Reader:
    """A process that reads until it is stopped."""

    def __init__(self, home: Machines, name: str, releases: list[dict[str, Any]]) -> None:
        self.reads, self.problems = 0, list[str]()
        self._stack = ExitStack()
        folder = home.folder_of(name)
        process = home.process(folder, "read", home.url, json.dumps(releases))
        self.process = self._stack.enter_context(process)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.problems += json.loads(line)
            self.reads += 1

    def stop(self) -> int:
        """Ends the process. Returns how often it has read everything."""
        assert self.process.stdin is not None and self.process.stderr is not None
        self.process.stdin.close()
        self._thread.join()
        if errors := self.process.stderr.read():
            self.problems.append(errors[-500:])
        self._stack.close()
        return self.reads


def _wait(readers: list[_Reader], times: int) -> None:
    """Waits until every reader has read everything some times more."""
    goals = [reader.reads + times for reader in readers]
    while any(r.reads < goal for r, goal in zip(readers, goals, strict=True)):
        if any(reader.process.poll() is not None for reader in readers):
            raise RuntimeError("a reader has ended")
        time.sleep(0.05)


def measure(kills: int, faults: int, contests: int, removals: int, seed: int) -> dict[str, Any]:
    """Plays all of it; what has no rounds is left out."""
    generator = random.Random(seed)
    result: dict[str, Any] = {"machine": machine()}
    with (
        tempfile.TemporaryDirectory(prefix="bucket-faults-") as folder,
        bucket_server() as new_home,
        faulty(new_home()) as proxy,
    ):

        def play(name: str, part: Callable[[Machines], dict[str, Any]]) -> None:
            begin = time.monotonic()
            bucket = new_home() if name != "faults" else proxy
            figures = part(Machines(bucket, Path(folder) / name))
            result[name] = {**figures, "seconds": round(time.monotonic() - begin, 1)}

        if kills:
            play("kills", lambda home: play_kills(home, kills, generator))
        if faults:
            play("faults", lambda home: play_faults(home, proxy, faults))
        if contests:
            play("contests", lambda home: play_contests(home, contests))
        if removals:
            play("versions", lambda home: play_versions(home, removals))
    return result


def main(
    kills: Annotated[int, typer.Option(help="Processes that are killed.")] = 30,
    faults: Annotated[int, typer.Option(help="Rounds of faults, one of each kind.")] = 30,
    contests: Annotated[int, typer.Option(help="Rounds of two writers of a partition.")] = 20,
    removals: Annotated[int, typer.Option(help="Of old versions, beside readers.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the moments of kills.")] = 1,
) -> None:
    """Kills, faults, contests and removals; exit code 1 if anything was wrong."""
    result = measure(kills, faults, contests, removals, seed)
    print_json(result)
    problems = [part for part in result.values() if part.get("problems")]
    raise typer.Exit(bool(problems))


if __name__ == "__main__":
    typer.run(main)
