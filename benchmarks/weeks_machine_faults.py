"""Nights of `three_weeks.py` in which the machine is at fault: what must be noticed of it."""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import time

from full_disk import FILLER, fill
from kills import stage_of
from weeks_night import Night

FREE_BYTES = 100_000


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


def _pass_without(night: Night, why: str) -> None:
    """A night without its fault."""
    night.event = f"({why})"
    night.run()
    night.look()


def dead_database(night: Night) -> None:
    """The serving store's server is dead when the run begins."""
    night.world.shop.write_day(night.day)
    database = night.world.database
    if database is None:
        _pass_without(night, "dead PostgreSQL: not played, no server was given")
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
        _pass_without(night, "full disk: not played, a file system cannot be mounted")
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
