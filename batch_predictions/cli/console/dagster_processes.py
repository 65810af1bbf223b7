"""Dagster's own processes on a home folder: what they need before they start, and their start."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import typer

from batch_predictions.cli.console.options import load_settings

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"
"""The checkout's; an installed package has none."""
_MODULE = "batch_predictions.definitions"
_TIMEOUTS = ("DAGSTER_SCHEDULE_GRPC_TIMEOUT_SECONDS", "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS")
_TIMEOUT_SECONDS = "600"
"""For a tick that finds new files: their index is made by the first that reads them."""


def prepare_home(home: Path | None, context: typer.Context) -> None:
    """Initialises the home and its Dagster storage, and names both in the environment.

    Raises:
        SettingsError: a setting is wrong.
        HomeError: the home belongs to another source.
    """
    from batch_predictions.orchestration.instance import create_storage, prepare
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.sources.home_state import initialise_home

    settings = load_settings(home, context)
    load_declarations(settings)
    initialise_home(settings)
    create_storage(prepare(settings))
    os.environ["BATCH_PREDICTIONS_HOME"] = str(settings.home)
    for name in _TIMEOUTS:
        os.environ.setdefault(name, _TIMEOUT_SECONDS)


def become(module: str, *arguments: str) -> NoReturn:
    """Replaces this process by a module of Dagster that loads the platform's code location.

    It has this process's number, so that signals of a shell or of systemd reach it.
    """
    location = ["-w", str(WORKSPACE)] if WORKSPACE.exists() else ["-m", _MODULE]
    # Dagster ends its processes by SIGINT, which shells have background processes ignore.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = [sys.executable, "-m", module, *arguments, *location]
    os.execv(command[0], command)  # noqa: S606
