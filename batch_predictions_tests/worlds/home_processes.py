"""Processes that work on a home, and runs that they left unfinished in Dagster's records."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

SECONDS_TO_END = 60.0


def processes_left(home: Path) -> list[str]:
    """Command lines of processes whose environment names a home, once they had time to end."""
    deadline = time.monotonic() + SECONDS_TO_END
    while (commands := _processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return commands


def unfinished_runs(home: Path) -> int:
    """Number of Dagster's runs that have no end."""
    database = home / "dagster" / "history" / "runs.db"
    if not database.exists():
        return 0
    with sqlite3.connect(database) as db:
        ended = "('SUCCESS', 'FAILURE', 'CANCELED')"
        (count,) = db.execute(f"select count(*) from runs where status not in {ended}").fetchone()
    return int(count)


def _processes_of(home: Path) -> list[str]:
    variable = f"BATCH_PREDICTIONS_HOME={home}".encode()
    commands = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable in (folder / "environ").read_bytes().split(b"\0"):
                commands.append((folder / "cmdline").read_text(errors="replace")[:200])
        except OSError:
            continue  # It has ended, or is another user's.
    return [command for command in commands if command]
