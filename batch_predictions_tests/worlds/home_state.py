"""The state that the tests' homes begin with, and copies of homes."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

from batch_predictions.core.home import State

STATE = State(
    source_kind="files",
    timezone="UTC",
    first_day=dt.date(2024, 1, 1),
    default_date=dt.date(2024, 1, 7),
)


def copy_home(template: Path, home: Path) -> Path:
    """Copies a home, without its file of views, which has paths; returns the copy."""
    shutil.copytree(template, home, ignore=shutil.ignore_patterns("warehouse.duckdb", "*.views"))
    return home
