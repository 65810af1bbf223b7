"""Examines whether a machine suffices for a home: Python, cores, memory, disk, GPU, daemon.

For people who ask why something is slow or does not start; each finding says what to do.

It also measures what a home takes of its disk.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from batch_predictions.core.home import State
from batch_predictions.core.home_lock import processes_folder
from batch_predictions.core.process_records import running_processes
from batch_predictions.core.redaction import redact
from batch_predictions.inference.device import choose_device, instance_count
from batch_predictions.operations.records import RunRecords
from batch_predictions.serving.store.snapshot import ReadStore
from batch_predictions.serving.store.store import store_url
from batch_predictions.settings import Settings
from batch_predictions.sources.source_registry import current_date, source_of


class DiskUsage(NamedTuple):
    """Bytes of a disk."""

    total: int
    used: int
    free: int


def disk_of(home: Path) -> DiskUsage:
    """Total, used and free bytes of the disk that a home is on, or would be."""
    home = home.absolute()
    existing = next(path for path in (home, *home.parents) if path.exists())
    return DiskUsage(*shutil.disk_usage(existing))


def file_sizes(folder: str) -> Iterator[int]:
    """Bytes of every file below a folder, in which a run may replace files meanwhile."""
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                yield Path(root, name).lstat().st_size
            except FileNotFoundError:
                # A run replaced it meanwhile.
                continue


MIN_MEMORY_GIB = 4.0
"""The demo's trainings take 2.1 GiB; with less than this, other programs leave too little."""
_NEEDED = ("source", "store")
"""What a run cannot do without."""
DAEMON_SECONDS = 300.0
"""A daemon without a sign of life for longer is not running."""


@dataclass(frozen=True)
class Finding:
    """The result of examining one property of the machine.

    Attributes:
        name: such as memory.
        state: fine, worth a look, or failed: a run could not go on.
        text: what it is, and what to do if it is worth a look.
    """

    name: str
    state: Literal["fine", "look", "failed"]
    text: str

    def as_dict(self) -> dict[str, str]:
        """Returns the finding as a dictionary of JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.state:<9}{self.name}: {self.text}"


def examine_machine(settings: Settings, state: State | None, records: RunRecords) -> list[Finding]:
    """Looks at everything; what cannot be found out is a finding too.

    Args:
        settings: of the home.
        state: of the home; None before its first run.
        records: Dagster's, of the home.
    """
    looks: dict[str, Callable[[], Finding]] = {
        "python": _python,
        "cores": lambda: _cores(settings),
        "memory": _memory,
        "disk": lambda: _disk(settings),
        "home": lambda: _home(settings),
        "clock": lambda: _clock(state),
        "processes": lambda: _processes(settings),
        "daemon": lambda: _daemon(settings, records),
        "schedules": lambda: _schedules(settings),
        "source": lambda: _source(settings, state),
        "store": lambda: _store(settings),
    }
    return [finding for name, look in looks.items() for finding in _safely(name, look)]


def _safely(name: str, look: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield look()
    except Exception as error:
        text = " ".join(redact(str(error)).split())
        message = f"{type(error).__name__}: {text}"
        yield Finding(name, "failed" if name in _NEEDED else "look", message)


def _python() -> Finding:
    from importlib.metadata import version

    names = ("batch-predictions", "dagster", "duckdb", "torch", "lightgbm")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return Finding("python", "fine", f"{platform.python_version()}, {versions}")


def _cores(settings: Settings) -> Finding:
    cores, device = len(os.sched_getaffinity(0)), choose_device(settings.inference.device)
    instances = instance_count(settings.inference.workers, device)
    text = f"{cores} usable, {instances} instances of a scorer on {device}"
    if device == "cpu" and shutil.which("nvidia-smi"):
        return Finding(
            "cores",
            "look",
            f"{text}, while there is a GPU: install a CUDA build of torch, or see inference.device",
        )
    if device == "cpu" and instances > cores:
        return Finding(
            "cores", "look", f"{text}: set inference.workers to {cores}, or to 0 for one per core"
        )
    load = os.getloadavg()[0]
    if load > 2 * cores:
        return Finding("cores", "look", f"{text}; load {load:.1f}: other programs use them")
    return Finding("cores", "fine", text)


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    total, available = memory.total / 2**30, memory.available / 2**30
    text = f"{total:.1f} GiB, {available:.1f} GiB available"
    if total < MIN_MEMORY_GIB:
        return Finding(
            "memory",
            "look",
            f"{text}: trainings may need more; lower recommender.max_users and "
            "duckdb.memory_limit, or use a larger machine",
        )
    return Finding("memory", "fine", text)


def _disk(settings: Settings) -> Finding:
    usage = disk_of(settings.home)
    text = f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB are free"
    if usage.free < settings.alerts.min_free_gb * 2**30:
        return Finding("disk", "look", f"{text}: free space, or lower retention.*")
    return Finding("disk", "fine", text)


def _home(settings: Settings) -> Finding:
    home = settings.home
    if not home.exists():
        return Finding("home", "look", f"{home} does not exist: `batch-predictions run` makes it")
    if not os.access(home, os.W_OK):
        return Finding("home", "look", f"{home} cannot be written: run as its owner")
    mode = home.stat().st_mode & 0o777
    text = f"{home}, mode {mode:o}"
    if mode & 0o007:
        return Finding("home", "look", f"{text}: everybody can read it; `chmod o= {home}`")
    return Finding("home", "fine", text)


def _clock(state: State | None) -> Finding:
    now = dt.datetime.fromtimestamp(time.time(), dt.UTC).replace(microsecond=0, tzinfo=None)
    zone = state.timezone if state else None
    today = f", {current_date(zone)} in {zone}, the source's time zone" if zone else ""
    return Finding("clock", "fine", f"{now.isoformat()} UTC{today}")


def _processes(settings: Settings) -> Finding:
    running = running_processes(processes_folder(settings.home))
    if not running:
        return Finding("processes", "fine", "no run of the UI or of a schedule is under way")
    return Finding("processes", "fine", " and ".join(map(str, running)))


def _daemon(settings: Settings, records: RunRecords) -> Finding:
    if not (settings.home / "dagster").exists():
        return Finding("daemon", "fine", "has not been started yet")
    heartbeat = records.daemon_heartbeat()
    if heartbeat is None:
        return Finding(
            "daemon",
            "look",
            "Dagster's daemon never ran here, so that no schedule starts anything: start it by "
            "`batch-predictions ui`, or let cron run `batch-predictions run`",
        )
    age = time.time() - heartbeat
    if age > DAEMON_SECONDS:
        return Finding(
            "daemon",
            "look",
            f"Dagster's daemon was alive {age / 60:,.0f} minutes ago: start it again, or let cron "
            "run `batch-predictions run`",
        )
    return Finding("daemon", "fine", "Dagster's daemon is running")


def _schedules(settings: Settings) -> Finding:
    nightly, minutes = settings.schedules.nightly, settings.schedules.poll_minutes
    looks = f"new days are looked for every {minutes:g} minutes" if minutes else "new days wait"
    return Finding("schedules", "fine", f"nights begin at {nightly} (cron); {looks}")


def _source(settings: Settings, state: State | None) -> Finding:
    timezone = state.timezone if state else "UTC"
    newest = source_of(settings, state).newest_complete_day(current_date(timezone))
    return Finding("source", "fine", f"{settings.source.kind}, newest complete day {newest}")


def _store(settings: Settings) -> Finding:
    with ReadStore(store_url(settings)) as store:
        releases = store.releases()
    current = [release.release_id for release in releases if release.current]
    if not current:
        return Finding("store", "fine", "nothing is released yet")
    return Finding("store", "fine", f"{len(releases)} releases, {current[0]} is served")
