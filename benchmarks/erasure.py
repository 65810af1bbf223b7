"""Erases a user from a home with real runs, and searches every byte for the id afterwards.

    python benchmarks/erasure.py [--kills 12]

The tiny shop's user gets an id that nothing else has, rows that are refused, previews in Dagster's
records (`execution.show_identifiers`) and releases as files. Checks: no file of the home has the id
(Parquet and SQLite decoded); the next run has nothing to do; a night after it trains and predicts
without the user; the source's rows of the user are refused and counted. Then erasures of another
user are killed by SIGKILL, and a run finishes them. Prints JSON; exit code 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import log, machine, print_json
from shop_home import DAYS, NEXT_DAY, ShopHome
from tiny_shop import FIRST_DAY, TinyShop

sys.path.insert(0, str(Path(__file__).parents[1]))

from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.bytes_of_home import files_with

USER, OTHER = "customer-one-77fae1", "customer-two-3b9d02"
LAST_DAY = NEXT_DAY - dt.timedelta(days=1)
NOT_OF_THE_HOME = ("__pycache__",)


def make_shop(root: Path) -> ShopHome:
    """A shop with the two users, whose first days are released; a day more is not ingested yet."""
    source = TinyShop(root / "source")
    for number in range(DAYS + 1):
        source.add_day(FIRST_DAY + dt.timedelta(days=number))
    for path in sorted((root / "source").rglob("*.csv")):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("u01", USER).replace("u02", OTHER), encoding="utf-8")
    broken = root / "source" / "interactions" / f"{LAST_DAY}.csv"
    with broken.open("a", encoding="utf-8") as file:
        file.write(f"{USER},,{LAST_DAY}T10:00:00,1\n")
        file.write(f'{USER},i01,"yesterday, {USER}",1\n')
    variables = {
        "BATCH_PREDICTIONS_EXECUTION__SHOW_IDENTIFIERS": "true",
        "BATCH_PREDICTIONS_SERVING__RELEASE_DIR": str(root / "releases"),
    }
    shop = ShopHome(root, variables)
    shop.run("run", "--date", f"{LAST_DAY}", "--json")
    return shop


def counts(shop: ShopHome, user: str) -> dict[str, int]:
    """Rows of a user, and refused rows, in the raw tables."""
    warehouse = Warehouse.of(Settings(home=shop.home))
    values = {"user": user}
    return {
        "interactions": warehouse.value(
            "select count(*) from raw.interactions where user_id = $user", values
        ),
        "refused": warehouse.value("select count(*) from raw.quarantine"),
        "erased": warehouse.value("select count(*) from raw.quarantine where reason = 'erased'"),
    }


def erase(shop: ShopHome, problems: list[str]) -> dict[str, Any]:
    """Erases the user, and looks at what the next runs do."""
    before = counts(shop, USER)
    had_id = files_with(shop.root, USER)
    start = time.perf_counter()
    summary = shop.run("erase-user", USER, "--json")
    seconds = time.perf_counter() - start
    left = [name for name in files_with(shop.root, USER) if not name.startswith("source/")]
    problems += [f"{name} still has the id" for name in left]
    unchanged = shop.run("run", "--date", f"{LAST_DAY}", "--json")
    if not shop.home.joinpath("last_run.json").exists():
        problems.append("the record of the last run is gone")
    if not unchanged["unchanged"] or unchanged["trained"]:
        problems.append(f"the run after it was not skipped: {unchanged}")
    after = counts(shop, USER)
    if after["erased"] < before["interactions"]:
        problems.append(f"rows are not counted as refused: {before}, {after}")
    damaged = shop.run("doctor", "--json")
    if damaged["damaged"]:
        problems.append(f"doctor: {damaged}")
    return {
        "files_with_the_id": len([name for name in had_id if not name.startswith("source/")]),
        "seconds": round(seconds, 1),
        **summary,
        "run_after_it": {"unchanged": unchanged["unchanged"], "trained": unchanged["trained"]},
        "rows": {"before": before, "after": after},
    }


def next_night(shop: ShopHome, problems: list[str]) -> dict[str, Any]:
    """A night with a new day and a corrected file, in which the source has the user still."""
    corrected = shop.root / "source" / "interactions" / f"{LAST_DAY}.csv"
    with corrected.open("a", encoding="utf-8") as file:
        file.write(f"u03,i05,{LAST_DAY}T11:00:00,1\n")
    result = shop.run("run", "--date", f"{NEXT_DAY}", "--json")
    left = [name for name in files_with(shop.root, USER) if not name.startswith("source/")]
    problems += [f"after the next night {name} has the id" for name in left]
    rows = counts(shop, USER)
    if rows["interactions"] or not rows["erased"]:
        problems.append(f"the user was ingested again: {rows}")
    return {"trained": len(result["trained"]), "rows": rows, "stale": sorted(result["stale"])}


def _record(shop: ShopHome) -> list[dict[str, Any]]:
    """The recorded erasures."""
    record = json.loads((shop.home / "erasures.json").read_text(encoding="utf-8"))
    erasures: list[dict[str, Any]] = record["erasures"]
    return erasures


def kill_erasures(
    shop: ShopHome, kills: int, seconds: float, problems: list[str], seed: int = 1
) -> dict[str, Any]:
    """Kills erasures of another user at random moments; a run finishes each.

    Args:
        shop: of which a user is erased already.
        kills: number of erasures.
        seconds: how long after the request was recorded they are killed, at most.
        problems: gets what is wrong.
        seed: of the moments.
    """
    saved = shop.root / "saved"
    subprocess.run(["cp", "-a", str(shop.home), str(saved)], check=True)
    subprocess.run(["cp", "-a", str(shop.root / "releases"), str(saved / "files")], check=True)
    randomness = random.Random(seed)
    killed = finished_by_run = 0
    for number in range(kills):
        shop.restore(saved)
        subprocess.run(["rm", "-rf", str(shop.root / "releases")], check=True)
        (shop.home / "files").rename(shop.root / "releases")
        process = shop.start("erase-user", OTHER, "--json")
        while process.poll() is None and len(_record(shop)) == 1:
            time.sleep(0.02)
        try:
            process.wait(randomness.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        process.communicate()
        finished_by_run += any(entry["finished_at"] is None for entry in _record(shop))
        shop.run("run", "--date", f"{NEXT_DAY}", "--json")
        names = files_with(shop.root, OTHER, ("saved", "source", *NOT_OF_THE_HOME))
        problems += [f"kill {number}: {name} still has the id" for name in names]
    return {"kills": killed, "finished_by_the_next_run": finished_by_run}


def main() -> int:
    """Prints what was seen; exit code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=12)
    arguments = parser.parse_args()
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="erasure-") as folder:
        shop = make_shop(Path(folder))
        log("a home of", DAYS, "days")
        result: dict[str, Any] = {"machine": machine(), "erasure": erase(shop, problems)}
        log(result["erasure"])
        result["next_night"] = next_night(shop, problems)
        log(result["next_night"])
        if arguments.kills:
            result["killed"] = kill_erasures(
                shop, arguments.kills, 0.5 * result["erasure"]["seconds"], problems
            )
    print_json({**result, "problems": problems})
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
