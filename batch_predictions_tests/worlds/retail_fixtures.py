"""A small shop as files, and its commands run in processes of their own."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

COLOURS = ("red", "blue")


ITEMS = 12
WEEKS = 4


def unseen(user: int) -> set[str]:
    """The items of a user's colour that they have not had after four weeks."""
    return {_item(user, place) for place in (ITEMS - 2, ITEMS - 1)}


def _item(user: int, place: int) -> str:
    """A user's own order of the items of their colour, so that none is more popular."""
    return f"{COLOURS[user % 2]}-{(place + user // 2) % ITEMS:02d}"


def write_shop(folder: Path, *, days: int, last: dt.date, users: int = 24) -> None:
    """Users like items of one colour, one a day, and discover two new ones a week.

    After four weeks, two items of their colour are left, which is what a good recommender finds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(days):
        day = last - dt.timedelta(days=days - 1 - number)
        known = 4 + 2 * min(number // 7, WEEKS - 1)
        for user in range(users):
            place = known - 2 + number % 7 if number % 7 < 2 else (number * 3 + user) % known
            item = _item(user, place)
            rows.append({"user_id": f"u{user:02d}", "item_id": item, "date": day, "amount": 2.5})
    pq.write_table(pa.Table.from_pylist(rows), folder / "interactions.parquet")
    people = [
        {"user_id": f"u{n:02d}", "age": 20 + 30 * (n % 2), "gender": "f", "location": "here"}
        for n in range(users)
    ]
    pq.write_table(pa.Table.from_pylist(people), folder / "users.parquet")
    goods = [
        {"item_id": f"{c}-{n:02d}", "title": f"{c.title()} {n}", "category": c, "available": True}
        for c in COLOURS
        for n in range(ITEMS)
    ]
    pq.write_table(pa.Table.from_pylist(goods), folder / "items.parquet")


def environment(home: Path, source: Path, **more: str) -> dict[str, str]:
    """Variables of a process that works in a home folder on a files source."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BATCH_PREDICTIONS_")}
    return {
        **clean,
        "BATCH_PREDICTIONS_HOME": str(home),
        "BATCH_PREDICTIONS_SOURCE__KIND": "files",
        "BATCH_PREDICTIONS_SOURCE__PATH": str(source),
        "BATCH_PREDICTIONS_FALLBACK__MIN_USERS": "3",
        "BATCH_PREDICTIONS_RECOMMENDATIONS__K": "5",
        **more,
    }


def command(
    *words: str, env: dict[str, str], cwd: Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """`batch-predictions …` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "batch_predictions.cli", *words],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def as_json(*words: str, env: dict[str, str], cwd: Path) -> Any:
    """What a command prints with --json."""
    return json.loads(command(*words, "--json", env=env, cwd=cwd).stdout)
