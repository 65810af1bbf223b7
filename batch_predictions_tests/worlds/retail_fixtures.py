"""A small shop as files, and commands that run in processes."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions_tests.worlds.programs import run_python

COLOURS = ("red", "blue")
ITEMS = 12
"""Items of each colour."""
WEEKS = 4


def unseen_items(user: int) -> set[str]:
    """The items of a user's colour that the user does not have after four weeks."""
    return {_item(user, position) for position in (ITEMS - 2, ITEMS - 1)}


def _item(user: int, position: int) -> str:
    """The item at a position of the user's order, which differs so that no item is more popular."""
    return f"{COLOURS[user % 2]}-{(position + user // 2) % ITEMS:02d}"


def write_shop(folder: Path, *, days: int, last: dt.date, users: int = 24) -> None:
    """Writes a source: users buy an item of their colour every day, and two new ones a week.

    After four weeks they lack two items of their colour: the right recommendations.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(days):
        day = last - dt.timedelta(days=days - 1 - number)
        known_items = 4 + 2 * min(number // 7, WEEKS - 1)
        for user in range(users):
            is_new = number % 7 < 2
            position = known_items - 2 + number % 7 if is_new else (number * 3 + user) % known_items
            item = _item(user, position)
            rows.append({"user_id": f"u{user:02d}", "item_id": item, "date": day, "amount": 2.5})
    pq.write_table(pa.Table.from_pylist(rows), folder / "interactions.parquet")
    user_rows = [
        {"user_id": f"u{n:02d}", "age": 20 + 30 * (n % 2), "gender": "f", "location": "here"}
        for n in range(users)
    ]
    pq.write_table(pa.Table.from_pylist(user_rows), folder / "users.parquet")
    item_rows = [
        {"item_id": f"{c}-{n:02d}", "title": f"{c.title()} {n}", "category": c, "available": True}
        for c in COLOURS
        for n in range(ITEMS)
    ]
    pq.write_table(pa.Table.from_pylist(item_rows), folder / "items.parquet")


def environment(home: Path, source: Path, **variables: str) -> dict[str, str]:
    """Environment variables of a process: home folder, source of files, few recommendations."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("BATCH_PREDICTIONS_")}
    return {
        **inherited,
        "BATCH_PREDICTIONS_HOME": str(home),
        "BATCH_PREDICTIONS_SOURCE__KIND": "files",
        "BATCH_PREDICTIONS_SOURCE__PATH": str(source),
        "BATCH_PREDICTIONS_FALLBACK__MIN_USERS": "3",
        "BATCH_PREDICTIONS_RECOMMENDATIONS__K": "5",
        **variables,
    }


def run_command(
    *arguments: str, env: dict[str, str], cwd: Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs `batch-predictions` with arguments in a process."""
    return run_python("-m", "batch_predictions.cli", *arguments, env=env, cwd=cwd, check=check)


def run_json(*arguments: str, env: dict[str, str], cwd: Path) -> Any:
    """The output of a command with `--json`, parsed."""
    return json.loads(run_command(*arguments, "--json", env=env, cwd=cwd).stdout)
