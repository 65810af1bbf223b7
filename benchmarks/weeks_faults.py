"""What happens in the nights of `three_weeks.py`, and what must be noticed of it."""

from __future__ import annotations

import datetime as dt
import json
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from full_disk import FILLER, fill
from kills import stage_of
from weeks_night import Night
from weeks_shop import BUYERS, day_of

FREE_BYTES = 100_000
WRONG_DAYS = 28
GARBAGE = b"\x00\xff\xfegarbage{[" * 200
Act = Callable[[Night], None]


def calm(night: Night) -> None:
    """A day arrives, and is predicted."""
    night.world.shop.write_day(night.day)
    night.run()
    night.look()


def bad_day(night: Night) -> None:
    """Half of the rows are missing."""
    night.event = "bad day: half of the rows are missing"
    shop = night.world.shop
    shop.write_day(night.day, shop.purchases(night.day)[: BUYERS // 2])
    night.run()
    night.expect(night.look(), "unusual:raw.interactions")


def first_burst(night: Night) -> None:
    """The bad day comes again, whole; new users sign up."""
    night.event = "the bad day is delivered again; 30 new users"
    night.world.shop.write_day(day_of(night.number - 1))
    _burst(night, 30)
    summary = _deliver_and_recover(night)
    if str(day_of(night.number - 1)) not in summary["corrected"]:
        night.problems.append("the corrected day was not read again")


def _burst(night: Night, number: int) -> None:
    """New users, whom applications ask for from now on, before the run and after it."""
    new = [f"new{night.number}_{n}" for n in range(number)]
    night.world.new_users.extend(new)
    for application in night.world.applications:
        application.ask_for(night.world.new_users)
    night.world.shop.add_users(new)


def _deliver_and_recover(night: Night) -> dict[str, Any]:
    """The day arrives; the run also reads what has changed, and days that are stale are remade."""
    night.world.shop.write_day(night.day)
    summary = night.run()
    stale = sorted({day for days in summary.get("stale", {}).values() for day in days})
    if stale:
        night.recover("--from", stale[0], "--date", str(night.day))
    night.look()
    return summary


def late_day(night: Night) -> None:
    """The day does not arrive."""
    night.event = "the day does not arrive"
    night.run()
    night.expect(night.look(), "source_age")


def gap(night: Night) -> None:
    """The next day arrives, while the day before is missing."""
    night.event = "the next day arrives without it"
    night.world.shop.write_day(night.day)
    night.run()
    night.expect(night.look(), "missing:raw.interactions")


def late_arrival(night: Night) -> None:
    """The late day arrives with that of the night."""
    night.event = "the late day arrives, two days late"
    night.world.shop.write_day(day_of(night.number - 2))
    _deliver_and_recover(night)


def killed(night: Night) -> None:
    """The run is killed while it scores, and again while it publishes."""
    night.event = "run killed in mid-scoring, and in mid-publish (SIGKILL)"
    night.world.shop.write_day(night.day)
    for stage in ("scoring", "release"):
        process = _start_until(night, stage)
        time.sleep(0.05)
        process.kill()
        _end(night, process)
        night.expect(night.look(), "run:")
    night.recover()
    night.look()


def _start_until(night: Night, stage: str) -> subprocess.Popen[str]:
    """Starts the run; returns when a stage begins."""
    process = night.world.home.start("run", "--json", **night.world.variables())
    assert process.stderr is not None
    for line in process.stderr:
        if stage_of(line.rstrip()) == stage:
            return process
    night.problems.append(f"the run ended before {stage}")
    return process


def _end(night: Night, process: subprocess.Popen[str], seconds: float = 0) -> None:
    process.communicate()
    night.commands.append(("run", process.returncode, seconds))


def dead_database(night: Night) -> None:
    """The serving store's server is dead when the run begins."""
    night.world.shop.write_day(night.day)
    database = night.world.database
    if database is None:
        night.event = "(dead PostgreSQL: not played, no server was given)"
        night.run()
        night.look()
        return
    night.event = "dead PostgreSQL"
    night.expected_failures.add("store")
    database.stop()
    night.run(expect=5)
    night.expect(night.look(), "status")
    database.start()
    night.recover()
    night.look()


def full_disk(night: Night) -> None:
    """The disk of the home is full when the run begins."""
    night.world.shop.write_day(night.day)
    disk = night.world.disk
    if disk is None:
        night.event = "(full disk: not played, a file system cannot be mounted)"
        night.run()
        night.look()
        return
    night.event = "full disk"
    fill(disk, FREE_BYTES)
    before = len(night.world.receiver.messages)
    night.run(expect=5)
    night.expect(night.look(), "disk")
    if not any("disk" in message["message"] for message in night.world.receiver.messages[before:]):
        night.problems.append("no alert of the full disk was sent")
    (disk / FILLER).unlink()
    night.recover()
    night.look()


def clock_back(night: Night) -> None:
    """The clock is a day behind: watch looks before the tick, and the tick finds nothing due."""
    night.event = "clock set back by a day"
    night.world.shop.write_day(night.day)
    night.set_clock(days=-1, hour=4)
    night.expect(night.look(), "clock")
    night.set_clock(days=-1)
    night.run()
    night.look()
    night.set_clock(hour=6)
    night.recover()
    night.look()


def worse_model(night: Night) -> None:
    """An export with a wrong join: four weeks of purchases are written to other users.

    The rows of a trained week have changed, so that it is trained again: the gate refuses it.
    """
    night.event = "four weeks delivered again with a wrong join: a worse model"
    shop, before = night.world.shop, _versions(night)
    for number in range(night.number - WRONG_DAYS, night.number + 1):
        day = day_of(number)
        shop.write_day(day, shop.purchases(day, shuffled=True))
    summary = night.run()
    kept = {entry["model"]: entry for entry in summary["trained"] if entry["decision"] == "kept"}
    night.expect(night.look(), "refused_model:demographic")
    if "demographic" not in kept:
        night.problems.append(f"the worse model serves: {summary['trained']}")
    after = _versions(night)
    # The champion of the newest training may be replaced by that of the one before.
    promoted = night.world.promoted
    for name in kept:
        if after[name] not in promoted:
            night.problems.append(f"{after[name]} serves, which was not promoted")
    night.lines += [f"{name}: {before[name]}, then {after[name]}" for name in kept]


def _versions(night: Night) -> dict[str, str]:
    """Versions that serve, by model, as `status` names them."""
    status = night.world.home.execute("status", "--json", **night.world.variables())
    versions: dict[str, str] = json.loads(status.stdout)["models"]
    return versions


def corrected_weeks(night: Night) -> None:
    """The wrong weeks are delivered again, right: the models are trained again."""
    night.event = "the four weeks are delivered again, right"
    for number in range(night.number - 1 - WRONG_DAYS, night.number):
        night.world.shop.write_day(day_of(number))
    summary = _deliver_and_recover(night)
    trained = [(entry["model"], entry["decision"]) for entry in summary["trained"]]
    if ("demographic", "promoted") not in trained:
        night.problems.append("the demographic model was not trained again")


def garbage_rows(night: Night) -> None:
    """Rows that cannot be read, and absurd ones."""
    night.event = "garbage: unreadable times, no user, year 2999, amounts x 10,000"
    shop = night.world.shop
    rows = []
    for number, row in enumerate(shop.purchases(night.day)):
        user, item, time_, quantity, amount = row.split(",")
        if number < 20:
            time_ = "yesterday-ish"
        elif number < 30:
            user = ""
        elif number < 40:
            time_ = time_.replace("2024", "2999")
        elif number < 50:
            amount = str(float(amount) * 10_000)
        rows.append(",".join((user, item, time_, quantity, amount)))
    shop.write_day(night.day, rows)
    night.run()
    night.expect(night.look(), "unusual:raw.interactions")


def garbage_file(night: Night) -> None:
    """A file that is no text."""
    night.event = "garbage: a file of bytes that mean nothing"
    night.world.shop.write_day(night.day)
    night.world.shop.interactions(night.day).write_bytes(GARBAGE)
    night.run(expect=1)
    night.expect(night.look(), "run:")


def second_burst(night: Night) -> None:
    """The garbage is delivered again; new users sign up."""
    night.event = "both days are delivered again; 60 new users"
    for number in (night.number - 2, night.number - 1):
        night.world.shop.write_day(day_of(number))
    _burst(night, 60)
    _deliver_and_recover(night)


def long_night(night: Night) -> None:
    """The run is stopped while it scores; the next tick comes a day later."""
    night.event = "a run that takes longer than a day; the next tick comes while it runs"
    night.world.shop.write_day(night.day)
    start = time.perf_counter()
    process = _start_until(night, "scoring")
    process.send_signal(signal.SIGSTOP)
    night.set_clock(days=1)
    night.world.shop.write_day(night.day + dt.timedelta(days=1))
    night.run(expect=3)
    night.expect(night.look(), "release_age")
    process.send_signal(signal.SIGCONT)
    _end(night, process, time.perf_counter() - start)
    night.recover()
    night.look()


def after_long_night(night: Night) -> None:
    """Nothing is left to do for the second tick."""
    night.event = "the tick after it: nothing is new"
    night.set_clock(hour=7)
    night.run()
    night.look()


NIGHTS: dict[int, Act] = {
    1: calm,
    2: bad_day,
    3: first_burst,
    4: late_day,
    5: gap,
    6: late_arrival,
    7: killed,
    8: worse_model,
    9: corrected_weeks,
    10: dead_database,
    11: full_disk,
    12: clock_back,
    13: long_night,
    14: after_long_night,
    15: garbage_rows,
    16: garbage_file,
    17: second_burst,
    18: calm,
    19: calm,
    20: calm,
    21: calm,
}
"""What happens in every night; the day of night 7, 14 and 21 is a Sunday, and trains."""
