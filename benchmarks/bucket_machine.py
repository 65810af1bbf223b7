"""A machine that uses a home in a bucket: a process of `bucket_faults.py`, which may be killed.

Places are partitions and a record, each with rows of one number: of a half, or of a mixture, the
numbers or the counts of rows do not fit.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.home_bucket import working_folder
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES
from batch_predictions.warehouse import Warehouse, WarehouseError

SCORES, USERS = TABLES["predictions.churn_scores"], TABLES["raw.users"]
GROUP = ("2026-11-03", "2026-11-04")
"""Days that are replaced in one commit."""
RECORD = "state.yaml"
TABLE_PLACES = ("2026-11-01", "2026-11-02", "group", "users")
PLACES = (*TABLE_PLACES, RECORD)


def open_home(url: str) -> Warehouse:
    """The home on the machine whose folder the environment names, as it is now."""
    warehouse = Warehouse.of(Settings(home=working_folder(url)))
    warehouse.refresh()
    return warehouse


def _rows(number: int) -> int:
    return 3 + number % 4


def _scores(day: str, number: int) -> str:
    return (
        f"select DATE '{day}' as date, i::varchar as user_id, .5 as churn_probability, "
        f"1 as days_inactive, '{number}' as model_version from range({_rows(number)}) r(i)"
    )


def write(warehouse: Warehouse, place: str, number: int) -> None:
    """Replaces a place's rows by some that have a number."""
    if place == RECORD:
        atomic_write(Path(warehouse.home) / RECORD, f"{number}\n" * _rows(number))
    elif place == "users":
        warehouse.replace_partition(
            USERS,
            None,
            f"select i::varchar as user_id, null as signed_up_on, null as age_bracket, "
            f"null as gender, '{number}' as location, map {{'a': 'b'}} as attributes "
            f"from range({_rows(number)}) r(i)",
        )
    elif place == "group":
        rows = " union all ".join(_scores(day, number) for day in GROUP)
        warehouse.replace_partitions(SCORES, GROUP, rows)
    else:
        warehouse.replace_partition(SCORES, place, _scores(place, number))


def read(warehouse: Warehouse, place: str) -> int:
    """The number of a place's rows; 0: it has none.

    Raises:
        ValueError: they are a half or a mixture.
    """
    if place == RECORD:
        path = Path(warehouse.home) / RECORD
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        found = [(number, lines.count(number)) for number in set(lines)]
    elif place == "users":
        query = "select location, count(distinct user_id), count(*) from raw.users group by 1"
        found = _counts(warehouse, query)
    else:
        days = GROUP if place == "group" else (place,)
        query = (
            "select model_version, count(distinct (date, user_id)), count(*) from "
            f"predictions.churn_scores where date in ({', '.join(map(repr, days))}) group by 1"
        )
        found = _counts(warehouse, query)
    if not found:
        return 0
    [(number, count), *more] = found
    expected = _rows(int(number)) * (len(GROUP) if place == "group" else 1)
    if more or count != expected:
        raise ValueError(f"{place} has {found}")
    return int(number)


def _counts(warehouse: Warehouse, query: str) -> list[tuple[str, int]]:
    rows = [tuple(row.values()) for row in warehouse.query(query).to_pylist()]
    if any(different != count for _, different, count in rows):
        raise ValueError(f"rows twice: {rows}")
    return [(number, count) for number, _, count in rows]


def read_all(warehouse: Warehouse, places: Sequence[str] = PLACES) -> dict[str, int]:
    """The numbers of places."""
    return {place: read(warehouse, place) for place in places}


def _print(value: Any) -> None:
    print(json.dumps(value), flush=True)


def write_on(url: str, number: int) -> None:
    """Prints what this machine sees, then replaces places until the process is killed."""
    warehouse = open_home(url)
    _print(read_all(warehouse))
    while True:
        place = random.choice(PLACES)
        _print(["begin", place, number])
        write(warehouse, place, number)
        _print(["done", place, number])
        number += 1


def contest(url: str) -> None:
    """Replaces one place with each number that is asked for, and prints what came of it."""
    warehouse = open_home(url)
    _print("ready")
    for line in sys.stdin:
        warehouse.refresh()
        try:
            write(warehouse, TABLE_PLACES[0], int(line))
            _print("won")
        except WarehouseError as error:
            _print("told" if "another process has replaced" in str(error) else str(error))
        except Exception as error:
            _print(f"{type(error).__name__}: {error}")


def read_on(url: str, releases: str) -> None:
    """Reads versions and the newest rows until the standard input ends; prints a line each time.

    Args:
        url: of the home.
        releases: what `Warehouse.at` takes, with the numbers that are to be found, as JSON.
    """
    to_end = threading.Thread(target=sys.stdin.read, daemon=True)
    to_end.start()
    warehouse = open_home(url)
    expected = json.loads(releases)
    held = [warehouse.at(release) for release in expected]
    while to_end.is_alive():
        problems = []
        try:
            for release, first in zip(expected, held, strict=True):
                for past in (first, warehouse.at(release)):
                    seen = read_all(past, TABLE_PLACES)
                    if seen != release["numbers"]:
                        problems.append(f"a version has {seen}")
            warehouse.refresh()
            read_all(warehouse)
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")
        _print(problems)
        time.sleep(0.05)


def main(task: str, *arguments: str) -> None:
    """Does what the first argument names."""
    if task == "write":
        write_on(arguments[0], int(arguments[1]))
    elif task == "contest":
        contest(arguments[0])
    else:
        read_on(arguments[0], arguments[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
