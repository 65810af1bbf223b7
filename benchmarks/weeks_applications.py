"""Applications of `three_weeks.py`: a process that looks predictions up without a pause."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from release_reader import FILES, open_lookup

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.item_lookup import forecast

KNOWN_USER, UNKNOWN_USER, ITEM = "u001", "nobody", "i05"
PAUSE_SECONDS = 0.2
"""Between two lookups, so that applications leave the cores to the runs."""
TABLES = ("recommendations", "demographic_recommendations", "demand_forecasts")
Tables = dict[str, set[str]]


@dataclass
class Answers:
    """What applications saw since the last report.

    Attributes:
        sources: number of answers of recommendations, by the kind of user, their source and as_of.
        forecasts: number of answers of forecasts, by as_of.
        failed: number of failed lookups, by error.
        empty: answers without items.
        mixed: answers of which not everything is of one release.
        tables: by release and table, the hashes of the rows that were read.
        longest_seconds: the longest time without an answer.
    """

    sources: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    forecasts: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)
    mixed: list[str] = field(default_factory=list)
    tables: Tables = field(default_factory=dict)
    longest_seconds: float = 0.0

    @property
    def number(self) -> int:
        """Of answers."""
        return self.sources.total() + self.forecasts.total()


def table_hash(rows: Sequence[dict[str, Any]]) -> str:
    """A hash of a table's rows."""
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def look_up(lookup: Lookup, number: int, new_users: Sequence[str], seen: Answers) -> None:
    """Makes the n-th lookup: a list for each kind of user, a forecast and a whole table."""
    users = {"known": KNOWN_USER, "unknown": UNKNOWN_USER}
    if new_users:
        users["new"] = new_users[number % len(new_users)]

    def read(snapshot: Lookup) -> list[dict[str, Any]]:
        return [
            *(snapshot.recommendations(user, k=5) for user in users.values()),
            forecast(snapshot, ITEM),
            snapshot.answer(TABLES[number % len(TABLES)]),
        ]

    *lists, future, table = lookup.in_one_snapshot(read)
    for kind, answer in zip(users, lists, strict=True):
        seen.sources[(kind, answer["source"], str(answer["as_of"]))] += 1
        if not answer["items"]:
            seen.empty[f"recommendations, {kind} user"] += 1
    seen.forecasts[str(future["as_of"])] += 1
    if not table["rows"]:
        seen.empty[TABLES[number % len(TABLES)]] += 1
    releases = {answer["release_id"] for answer in (*lists, future, table)}
    if len(releases) > 1:
        seen.mixed.append(f"one snapshot, several releases: {sorted(releases)}")
    key = f"{table['release_id']} {TABLES[number % len(TABLES)]}"
    seen.tables.setdefault(key, set()).add(table_hash(table["rows"]))
    if len(seen.tables[key]) > 1:
        seen.mixed.append(f"{key} has had different rows")


def read_until_stopped(url: str, connection: Any) -> None:
    """Looks up until `stop` comes; on `report`, sends what was seen since the last one.

    Every other message is a list of new users to ask for.
    """
    seen, number = Answers(), 0
    new_users: list[str] = []
    answered = time.monotonic()
    with open_lookup(url) as lookup:
        while True:
            try:
                look_up(lookup, number, new_users, seen)
            except Exception as error:  # Every error is a failed lookup.
                seen.failed[f"{type(error).__name__}: {error}".splitlines()[0][:120]] += 1
            else:
                now = time.monotonic()
                seen.longest_seconds = max(seen.longest_seconds, now - answered)
                answered = now
            number += 1
            time.sleep(PAUSE_SECONDS)
            if not connection.poll():
                continue
            message = connection.recv()
            if message == "report":
                seen.longest_seconds = max(seen.longest_seconds, time.monotonic() - answered)
                connection.send(seen)
                # Rows of a release stay what they are, in the next night too.
                seen = Answers(tables=seen.tables)
            elif message == "stop":
                return
            else:
                new_users = message


class Application:
    """A reading process.

    Args:
        url: of a store, or `files:FOLDER`.
    """

    def __init__(self, url: str) -> None:
        self.name = "release files" if url.startswith(FILES) else "store"
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=read_until_stopped, args=(url, other), daemon=True)
        self._process.start()

    def ask_for(self, new_users: Sequence[str]) -> None:
        """Asks for new users from now on, too."""
        self._connection.send(list(new_users))

    def report(self) -> Answers:
        """What was seen since the last report."""
        self._connection.send("report")
        answers: Answers = self._connection.recv()
        return answers

    def stop(self) -> None:
        """Ends the process."""
        self._connection.send("stop")
        self._process.join()
