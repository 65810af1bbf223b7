"""Swaps releases beside reading processes: publish, roll back, forward again.

    python benchmarks/swaps.py [--swaps 1000] [--readers 8]
    .ci/with-postgres python benchmarks/swaps.py

Values of every release have a tag of their own, so that an answer with two tags is mixed. Runs on
SQLite, on release files (an export after every swap), and on PostgreSQL where
BATCH_PREDICTIONS_TEST_POSTGRES names a server. Prints JSON: per store the swaps, the lookups beside
them, and how many of those failed or were mixed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import log, machine, print_json
from databases import create_database
from release_reader import FILES, Reader

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release.release_records import rollback
from batch_predictions.serving.release_files.destinations import export_current

sys.path.insert(0, str(Path(__file__).parents[1]))

from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world

USERS, K = 60, 6


@dataclass(frozen=True)
class OneTag:
    """Looks users up, known and unknown ones, and checks that an answer has one tag only."""

    users: int
    k: int

    def __call__(self, lookup: Lookup, number: int) -> tuple[str, str | None]:
        """Looks a key up, and compares the answer with what it may be."""
        answer = lookup.recommendations(f"u{number % (self.users + 20)}")
        tag = answer["model_version"].partition("-")[2]
        ranks = [item["rank"] for item in answer["items"]]
        # The tag names the day of the release, so that release, model and items are of one build.
        day = (dt.date.fromisoformat(answer["as_of"]) - DAY).days
        whole = (
            tag == f"v{day}x"
            and answer["release_id"].startswith(answer["as_of"])
            and ranks == list(range(1, self.k + 1))
            and all(
                item["item_id"].startswith(tag) and item["title"].endswith(item["item_id"])
                for item in answer["items"]
            )
        )
        return answer["release_id"], None if whole else f"{answer}"


def swap(world: ServingWorld, swaps: int, folder: Path | None) -> tuple[int, int]:
    """Moves the pointer at least so many times; the moves, and the publishes among them.

    Args:
        world: with the store.
        swaps: number of moves.
        folder: where every release is exported to as it is served; None: nowhere.
    """
    moved = publishes = 0
    while moved < swaps:
        publishes += 1
        world.predict(DAY + dt.timedelta(days=publishes), f"v{publishes}x", users=USERS, k=K)
        new = world.publish(DAY + dt.timedelta(days=publishes), keep=3)
        _export(world, folder)
        back = rollback(world.store)
        _export(world, folder)
        forward = rollback(world.store, new.release_id)
        _export(world, folder)
        moved += new.moved + back.moved + forward.moved
    return moved, publishes


def _export(world: ServingWorld, folder: Path | None) -> None:
    if folder is not None and not export_current(world.settings, folder).is_new:
        raise RuntimeError("a swap was not exported")


def measure(
    home: Path, url: str | None, swaps: int, readers: int, folder: Path | None = None
) -> dict[str, Any]:
    """Swaps a store's releases beside readers."""
    world = open_world(home, url)
    world.predict(DAY, "v0x", users=USERS, k=K)
    world.publish(DAY)
    _export(world, folder)
    store = f"{FILES}{folder}" if folder else url or f"sqlite:///{home / 'serving.sqlite'}"
    reading = [Reader(store, OneTag(USERS, K)) for _ in range(readers)]
    start = time.perf_counter()
    try:
        moved, publishes = swap(world, swaps, folder)
    finally:
        seconds = time.perf_counter() - start
        reports = [reader.stop() for reader in reading]
        world.store.close()
    for problem in [problem for report in reports for problem in report.failed + report.mixed][:5]:
        log(problem)
    return {
        "swaps": moved,
        "publishes": publishes,
        "lookups": sum(report.reads for report in reports),
        "releases_seen": len(set().union(*(report.releases for report in reports))),
        "failed": sum(len(report.failed) for report in reports),
        "mixed": sum(len(report.mixed) for report in reports),
        "seconds": round(seconds, 1),
    }


def main() -> int:
    """Prints the figures; exit code 1 if any lookup failed or was mixed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--swaps", type=int, default=1000)
    parser.add_argument("--readers", type=int, default=8)
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="swaps-") as folder:
        stores: dict[str, str | None] = {"sqlite": None}
        if server := os.environ.get("BATCH_PREDICTIONS_TEST_POSTGRES"):
            stores["postgresql"] = create_database(server, "swaps")
        for name, url in stores.items():
            result[name] = measure(Path(folder) / name, url, arguments.swaps, arguments.readers)
            log(name, result[name])
        files = Path(folder) / "files"
        result["release_files"] = measure(
            files / "home", None, arguments.swaps, arguments.readers, files / "releases"
        )
        log("release files", result["release_files"])
    print_json(result)
    return int(
        any(result[name]["failed"] + result[name]["mixed"] for name in result if name != "machine")
    )


if __name__ == "__main__":
    sys.exit(main())
