"""Three weeks of a shop under a moved clock, with a fault in most nights.

    python benchmarks/three_weeks.py [--nights NUMBER …]
    .ci/with-postgres python benchmarks/three_weeks.py

A shop of 120 users, 48 items and 12 reviews a day has 63 days. Then every night brings a day, the
clock of all commands is set to 05:00 of the morning after (libfaketime; Debian: apt-get install
faketime), and `batch-predictions run` is a process of its own, as are `status --json` and
`watch --once` after it. Alerts go to alerts.log and to a web server. Meanwhile applications look
recommendations of known, new and unknown users, forecasts and whole tables up, without a pause:
from the serving store (PostgreSQL where BATCH_PREDICTIONS_TEST_POSTGRES names a server, whose data
folder this process may read) and from release files. The home is on a file system of its own, in
memory, which needs root; without root the full disk is left out.

At the end the days that were computed from faulty rows are computed again, and all raw rows,
features and predictions must be those of a home that saw only the right source. Prints a table:
every night, what happened, what was noticed, what applications saw, what it took to recover, and
rows read = accepted + quarantined. Exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import weeks_machine_faults
import weeks_source_faults
from clock import clock_variables
from common import log, print_json
from databases import create_database
from full_disk import file_system
from kills import POSTGRES
from release_reader import FILES
from shop_home import SERVING_URL, ShopHome, rows_hash
from weeks_applications import Application
from weeks_database import Database
from weeks_night import Night, Receiver, World, play, set_time
from weeks_shop import BASE_DAYS, WeeksShop, day_of

SETTINGS = {
    # The source delivers every night: a release of the day before yesterday is late.
    "BATCH_PREDICTIONS_ALERTS__MAX_AGE_DAYS": "1",
    "BATCH_PREDICTIONS_ALERTS__MIN_FREE_GB": "0.02",
    "BATCH_PREDICTIONS_CHURN__HORIZON_DAYS": "14",
    "BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE": "false",
}
NIGHTS: dict[int, Callable[[Night], None]] = {
    1: weeks_source_faults.calm,
    2: weeks_source_faults.bad_day,
    3: weeks_source_faults.first_burst,
    4: weeks_source_faults.late_day,
    5: weeks_source_faults.gap,
    6: weeks_source_faults.late_arrival,
    7: weeks_machine_faults.killed,
    8: weeks_source_faults.worse_model,
    9: weeks_source_faults.corrected_weeks,
    10: weeks_machine_faults.dead_database,
    11: weeks_machine_faults.full_disk,
    12: weeks_machine_faults.clock_back,
    13: weeks_machine_faults.long_night,
    14: weeks_machine_faults.after_long_night,
    15: weeks_source_faults.garbage_rows,
    16: weeks_source_faults.garbage_file,
    17: weeks_source_faults.second_burst,
    18: weeks_source_faults.calm,
    19: weeks_source_faults.calm,
    20: weeks_source_faults.calm,
    21: weeks_source_faults.calm,
}
"""What happens in every night; the day of night 7, 14 and 21 is a Sunday, and trains."""


def make_world(folder: Path, stack: ExitStack, first_days: int) -> tuple[World, Path]:
    """The shop and its home after the first run, the applications, and a copy of that home."""
    disk = None
    if os.geteuid() == 0:
        disk = stack.enter_context(file_system(folder / "disk"))
    root = disk or folder / "shop"
    shop = WeeksShop(root / "source")
    for number in range(1 - first_days, 1):
        shop.write_day(day_of(number))
    receiver = Receiver()
    stack.callback(receiver.stop)
    offset = folder / "clock"
    home = ShopHome(root, dict(SETTINGS))
    set_morning(offset, 0)
    first = home.run("run", "--json", **clock_variables(offset))
    saved = folder / "saved"
    shutil.copytree(home.home, saved)
    database = None
    if server := os.environ.get(POSTGRES):
        database = Database(server)
        home.variables[SERVING_URL] = create_database(server, "three_weeks")
    releases = folder / "releases"
    home.variables["BATCH_PREDICTIONS_SERVING__RELEASE_DIR"] = str(releases)
    home.run("run", "--json", "--force", **clock_variables(offset))
    home.variables["BATCH_PREDICTIONS_ALERT_URLS"] = receiver.url
    applications = [Application(home.url), Application(f"{FILES}{releases}")]
    for application in applications:
        stack.callback(application.stop)
    world = World(shop, home, offset, applications, receiver, disk, database)
    world.promoted.update(t["version"] for t in first["trained"] if t["decision"] == "promoted")
    return world, saved


def set_morning(offset: Path, night: int) -> None:
    """Sets the clock to the tick of a night."""
    set_time(offset, dt.datetime.combine(day_of(night) + dt.timedelta(days=1), dt.time(5)))


def compare(world: World, saved: Path, folder: Path, last: int) -> tuple[list[str], str, int]:
    """Computes all nights again, and in a home that saw the right source only, and compares.

    Returns:
        Differences, what was done, and the number of partitions that were compared.
    """
    set_morning(world.offset, last)
    # A correction may have made the last day before the nights again, with users who came later.
    days = ("--from", str(day_of(0)), "--date", str(day_of(last)), "--force")
    start = time.perf_counter()
    world.home.run("run", "--json", *days, **world.variables())
    done = f"`run {' '.join(days)}` {time.perf_counter() - start:.0f} s"
    other = ShopHome(folder, dict(SETTINGS))
    shutil.copytree(world.shop.folder, folder / "source")
    shutil.copytree(saved, other.home)
    other.run("run", "--json", *days, **world.variables())
    mine, expected = all_tables(world.home), all_tables(other)
    different = sorted(
        name for name in mine.keys() | expected.keys() if mine.get(name) != expected.get(name)
    )
    return different, done, len(expected)


def all_tables(home: ShopHome) -> dict[str, str]:
    """Hashes of the rows of all partitions of raw rows, features and predictions."""
    folder = home.home / "warehouse"
    return {
        str(path.relative_to(folder)): rows_hash(path)
        for name in ("raw", "features", "predictions")
        for path in sorted((folder / name).rglob("*.parquet"))
    }


def table_lines(nights: Sequence[Night]) -> list[str]:
    """The table, in Markdown."""
    titles = (
        "night, day",
        "what happened",
        "noticed",
        "applications saw",
        "recovery",
        "rows: read = accepted + quarantined",
    )
    lines = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    for night in nights:
        cells = (
            f"{night.number}, {night.day:%a %d %b}",
            night.event,
            noticed_text(night),
            applications_text(night),
            night.recovery,
            night.rows,
        )
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return lines


def noticed_text(night: Night) -> str:
    """Exit codes, and the alerts that began in a night, with the time of the first line."""
    codes = ", ".join(f"{code}" for _, code, _ in night.commands)
    begun = [line for line in night.lines if " begun: " in line]
    texts = []
    for line in begun:
        time_, _, text = line.partition(" begun: ")
        texts.append(f"{time_[11:16]} {shorten(text)}")
    rest = [shorten(line) for line in night.lines if not re.match(r"\d{4}-\d\d-\d\dT", line)]
    words = "; ".join([*rest, *texts]) or "nothing"
    sent = f" ({night.messages} sent)" if night.messages else ""
    return f"exit {codes}; {words}{sent}"


def shorten(text: str, width: int = 110) -> str:
    """The beginning of a line."""
    text = re.sub(r"/\S*/(home|source)\b", r"\1", text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def applications_text(night: Night) -> str:
    """Answers by source and as_of, failures and the longest wait, of each application."""
    texts = []
    for name, seen in night.answers.items():
        days = sorted({as_of for _, _, as_of in seen.sources} | set(seen.forecasts))
        kinds = sorted({f"{kind}: {source}" for kind, source, _ in seen.sources})
        failed = f", {seen.failed.total()} failed" if seen.failed else ""
        texts.append(
            f"{name}: {seen.number:,} answers as of {' and '.join(day[5:] for day in days)}"
            f"{failed}, at most {seen.longest_seconds:.1f} s apart ({', '.join(kinds)})"
        )
    return "; ".join(texts)


def simulate(
    folder: Path, numbers: Sequence[int], first_days: int = BASE_DAYS
) -> tuple[list[Night], list[str], str]:
    """Plays nights, computes again what was computed from faulty rows, and compares.

    Returns:
        The nights, everything that was wrong, and a line about the end.
    """
    start = time.perf_counter()
    with ExitStack() as stack:
        world, saved = make_world(folder, stack, first_days)
        nights: list[Night] = []
        for number in numbers:
            for earlier in range(nights[-1].number + 1 if nights else 1, number):
                if not world.shop.interactions(day_of(earlier)).exists():
                    world.shop.write_day(day_of(earlier))
            nights.append(play(world, number, NIGHTS[number]))
        log(f"night by night, {time.perf_counter() - start:.0f} s")
        different, done, count = compare(world, saved, folder / "undisturbed", max(numbers))
    problems = [f"night {n.number}: {problem}" for n in nights for problem in n.problems]
    problems += [f"not equal at the end: {name}" for name in different]
    end = f"after the last night: {done}; {count - len(different)} of {count} partitions equal"
    return nights, problems, end


def main() -> int:
    """Plays and prints; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--nights",
        type=int,
        nargs="+",
        choices=list(NIGHTS),
        default=list(NIGHTS),
        help="these nights only; days of nights that are left out come with the next one",
    )
    arguments = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="weeks-") as folder:
        nights, problems, end = simulate(Path(folder), sorted(arguments.nights))
    print("\n".join([*table_lines(nights), "", end]))
    log(f"{time.perf_counter() - start:.0f} s")
    if problems:
        print_json({"problems": problems})
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
