"""A process that looks predictions up without a pause, and collects answers that are wrong."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release_files.release_source import ReleaseFiles

FILES = "files:"
POLL_SECONDS = 0.02
PAUSE_SECONDS = 0.01
"""Between two reads, so that readers leave the cores to the runs."""


@dataclass
class Report:
    """What a reader saw.

    Attributes:
        reads: the number of lookups.
        releases: ids of the releases that answered.
        failed: errors of lookups.
        mixed: answers that are not those of one complete release.
    """

    reads: int = 0
    releases: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)


Check = Callable[[Lookup, int], tuple[str, str | None]]
"""Makes the n-th lookup: the id of the release that answered, and what is wrong with its answer."""


def open_lookup(url: str) -> Lookup:
    """Lookups in a store, or in a folder of release files, `files:FOLDER`."""
    if not url.startswith(FILES):
        return Lookup(url)
    return Lookup(ReleaseFiles(Path(url.removeprefix(FILES)), poll_seconds=POLL_SECONDS))


def read_until(url: str, check: Check, started: Any, stop: Any, report: Any) -> None:
    """Looks predictions up until an event is set, then sends the report.

    Sets the event `started` after the first lookup.
    """
    seen = Report()
    with open_lookup(url) as lookup:
        while not stop.is_set():
            try:
                release_id, problem = check(lookup, seen.reads)
            except Exception as error:  # Every error is a failed lookup.
                seen.failed.append(repr(error)[:300])
            else:
                seen.releases.add(release_id)
                if problem:
                    seen.mixed.append(problem[:300])
            seen.reads += 1
            started.set()
            time.sleep(PAUSE_SECONDS)
    report.send(seen)


class Reader:
    """A reading process, which has made a lookup before the constructor returns."""

    def __init__(self, url: str, check: Check) -> None:
        context = multiprocessing.get_context("spawn")
        started, self._stop = context.Event(), context.Event()
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(
            target=read_until, args=(url, check, started, self._stop, sender), daemon=True
        )
        self._process.start()
        while not started.wait(timeout=1):
            if not self._process.is_alive():
                raise RuntimeError("a reader ended before its first lookup")

    def stop(self) -> Report:
        """Ends the process; what it saw."""
        self._stop.set()
        report: Report = self._receiver.recv()
        self._process.join()
        return report


@dataclass(frozen=True)
class WholeTables:
    """Compares every table of the current release with the known ones of that release.

    Attributes:
        known: by release id, the rows of its tables.
    """

    known: Mapping[str, Mapping[str, list[dict[str, Any]]]]

    def __call__(self, lookup: Lookup, number: int) -> tuple[str, str | None]:
        """Looks a key up, and compares the answer with what it may be."""
        names = sorted(next(iter(self.known.values())))
        name = names[number % len(names)]
        answer = lookup.answer(name)
        release_id = answer["release_id"]
        if release_id not in self.known:
            return release_id, f"unknown release {release_id}"
        if answer["rows"] != self.known[release_id][name]:
            return release_id, f"{name} of {release_id} has other rows"
        return release_id, None
