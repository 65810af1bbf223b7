"""Cuts the power at every file operation of a run, on paper, and checks what is left of the home.

    python benchmarks/power_cut.py [--runs 12] [--seed 1]

A library (`record_files.c`, compiled with gcc) records every new, renamed, linked and removed name
of a run of the tiny shop, and every fsync. After each operation, two states of the home are made
from what is durable by then (see `crash_states.py`). In every state a partition is absent or can be
read whole, a model's version has all its files with their hashes or no manifest, a decision names a
version that is there, state and logs can be read, and the current release has all its rows. From
some of the states, chosen at random, the run is done again: it must give the predictions and the
release of a run that was never disturbed. Prints JSON.

Not covered: bytes that are written over synced ones and reach the disk in part or in
another order (only SQLite writes its files in place), disks that lie about fsync, PostgreSQL.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from common import log, machine, print_json
from crash_states import (
    MODES,
    Disk,
    State,
    build_recorder,
    read_record,
    recorder_variables,
    write_state,
)
from shop_home import ShopHome, make_shop

STORE = "serving.sqlite"


class Checker:
    """Checks states of a home; equal files are read once."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.checked = 0
        self._readable: dict[tuple[str, Path | None], bool] = {}
        self._hashes: dict[Path | None, str] = {}
        self._stores: dict[tuple[Path | None, Path | None], str | None] = {}

    def problems(self, state: State) -> Iterator[str]:
        """What is neither whole nor absent in a state."""
        self.checked += 1
        for path, content in state.items():
            if must_be_readable(path) and not self._is_readable(path, content):
                yield f"{path} cannot be read"
        yield from self._model_problems(state)
        if STORE in state and (problem := self._store_problem(state)):
            yield problem

    def _is_readable(self, path: str, content: Path | None) -> bool:
        key = Path(path).suffix, content
        if key not in self._readable:
            self._readable[key] = content is not None and _can_read(key[0], content)
        return self._readable[key]

    def _model_problems(self, state: State) -> Iterator[str]:
        for path, content in state.items():
            parts = path.split("/")
            if parts[0] != "models" or len(parts) < 4 or parts[1].startswith("."):
                continue
            if parts[2] == "decisions" and content is not None and path.endswith(".json"):
                version = json.loads(content.read_bytes())["version"]
                if not state.get(f"models/{parts[1]}/versions/{version}/manifest.json"):
                    yield f"{path} names {version}, which is not there"
            elif parts[2] == "versions" and parts[4:] == ["manifest.json"] and content is not None:
                folder = path.removesuffix("manifest.json")
                for name, digest in json.loads(content.read_bytes())["files"].items():
                    if self._hash(state.get(folder + name)) != digest:
                        yield f"{folder}{name} has lost its bytes"

    def _hash(self, content: Path | None) -> str:
        if content not in self._hashes:
            content_bytes = b"" if content is None else content.read_bytes()
            self._hashes[content] = hashlib.sha256(content_bytes).hexdigest()
        return self._hashes[content]

    def _store_problem(self, state: State) -> str | None:
        key = state[STORE], state.get(f"{STORE}-wal")
        if key not in self._stores:
            files = {name: state[name] for name in (STORE, f"{STORE}-wal") if name in state}
            write_state(files, self.scratch)
            self._stores[key] = check_store(self.scratch / STORE)
        return self._stores[key]


def must_be_readable(path: str) -> bool:
    """Whether a file must be whole whenever it has its name."""
    top, _, rest = path.partition("/")
    if top == "warehouse":
        return not rest.startswith(".tmp/") and path.endswith((".parquet", ".yaml"))
    hidden = any(part.startswith(".") for part in path.split("/"))
    is_log = path.endswith(".json") and not path.endswith(".files.json")
    return not hidden and (path == "state.yaml" or (top in ("ingests", "models") and is_log))


def _can_read(suffix: str, content: Path) -> bool:
    try:
        if suffix == ".parquet":
            pq.ParquetFile(content).read()
        elif suffix == ".json":
            json.loads(content.read_bytes())
        else:
            return isinstance(yaml.safe_load(content.read_bytes()), dict)
    except Exception:  # Whatever a reader raises, the file is not whole.
        return False
    return True


def check_store(path: Path) -> str | None:
    """What is wrong with an SQLite store: damage, or a current release without all its rows."""
    try:
        with closing(sqlite3.connect(path)) as db:
            [(answer,), *_] = db.execute("pragma integrity_check").fetchall()
            if answer != "ok":
                return f"{path.name}: {answer}"
            if not db.execute("select 1 from sqlite_master where name = 'releases'").fetchall():
                return None
            releases = db.execute(
                "select release_id, manifest from releases where status = 'ready'"
            )
            for release_id, manifest in releases.fetchall():
                for name, entry in json.loads(manifest)["tables"].items():
                    query = f'select count(*) from "{name}" where release_id = ?'
                    [rows] = db.execute(query, [release_id]).fetchone()
                    if rows != entry["rows"]:
                        return f"{name} of {release_id}: {rows} rows of {entry['rows']}"
            query = "select status from current_release join releases using (release_id)"
            if db.execute(query).fetchall() not in ([], [("ready",)]):
                return "the current release is not ready"
    except sqlite3.Error as error:
        return f"{path.name}: {error}"
    return None


@dataclass
class Result:
    """What the states of a record showed.

    Attributes:
        operations: of the record, by kind.
        states: the number of different states that were checked, by mode.
        broken: what was neither whole nor absent, and in how many states.
    """

    operations: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)


def check_states(root: Path, before: Path, record: Path, scratch: Path) -> Result:
    """Checks both states after every operation of a record."""
    result, disk, checker = Result(), Disk(root, before), Checker(scratch)
    last: dict[str, State] = {}
    for operation, first, second in read_record(record):
        disk.apply(operation, first, second, record)
        result.operations[operation] += 1
        for mode in MODES:
            state = disk.state(mode)
            if state == last.get(mode):
                continue
            last[mode] = state
            result.states[mode] += 1
            for problem in checker.problems(state):
                result.broken[f"{mode}: {problem}"] += 1
    return result


def state_after(root: Path, before: Path, record: Path, operations: int, mode: str) -> State:
    """The state after so many operations."""
    disk = Disk(root, before)
    for operation, first, second in read_record(record)[:operations]:
        disk.apply(operation, first, second, record)
    return disk.state(mode)


def run_from_states(
    shop: ShopHome, before: Path, record: Path, number: int, seed: int
) -> tuple[int, list[str]]:
    """Does the run again from some states; how many, and what differed."""
    tables, answers = shop.tables(), shop.answers()
    operations, generator = len(read_record(record)), random.Random(seed)
    problems = []
    for n in range(number):
        mode = MODES[n % 2]
        # One moment in each of equal parts of the record.
        moment = int(operations * (n + generator.random()) / number)
        write_state(state_after(shop.home, before, record, moment, mode), shop.home)
        process = shop.execute()
        name = f"{mode}, operation {moment}"
        if process.returncode:
            problems.append(f"{name}: {process.stderr.splitlines()[-1][:300]}")
        elif shop.tables() != tables or shop.answers() != answers:
            problems.append(f"{name}: other rows")
        log(name, problems[-1:])
    return number, problems


def main() -> int:
    """Prints the figures; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="power-") as temporary:
        folder = Path(temporary)
        library = build_recorder(folder)
        shop = make_shop(folder / "shop")
        before, record = folder / "before", folder / "record"
        shutil.copytree(shop.home, before)
        shop.run(**recorder_variables(library, shop.home, record))
        checked = check_states(shop.home, before, record, folder / "scratch")
        log(checked)
        runs, problems = run_from_states(shop, before, record, arguments.runs, arguments.seed)
    result: dict[str, Any] = {
        "machine": machine(),
        "operations": checked.operations,
        "states": checked.states,
        "broken": checked.broken,
        "runs": runs,
        "unequal": problems,
    }
    print_json(result)
    return int(bool(checked.broken or problems))


if __name__ == "__main__":
    sys.exit(main())
