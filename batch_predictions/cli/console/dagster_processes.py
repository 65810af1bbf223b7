"""Dagster's own processes on a home folder: what they need before they start, and their start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import typer

from batch_predictions.cli.console.options import load_settings
from batch_predictions.core.interruption import Stopped

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"
"""The checkout's; an installed package has none."""
WEBSERVER = ("batch_predictions.orchestration.dagster_webserver",)
DAEMON = ("dagster._daemon", "run")
"""Modules of Dagster's processes, with their arguments."""
_MODULE = "batch_predictions.definitions"
_POLL_SECONDS = 0.5
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
    # Dagster ends its processes by SIGINT, which shells have background processes ignore.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = _command(module, *arguments)
    os.execv(command[0], command)  # noqa: S606


def run_together(webserver: Sequence[str], daemon: Sequence[str], address: Sequence[str]) -> int:
    """Runs the web server and the daemon until one of them ends, or a signal comes.

    Args:
        webserver: module and arguments.
        daemon: module and arguments.
        address: further arguments of the web server.

    Returns:
        The exit code: 0 after a signal, else that of the process that ended first.
    """
    processes = [
        # Of sessions of their own: a Ctrl-C reaches them once, from here.
        subprocess.Popen(_command(*words), start_new_session=True)  # noqa: S603
        for words in ((*webserver, *address), daemon)
    ]
    try:
        while all(process.poll() is None for process in processes):
            time.sleep(_POLL_SECONDS)
        ended = next(process for process in processes if process.poll() is not None)
        return ended.returncode or 1
    except (KeyboardInterrupt, Stopped):
        return 0
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait()


def _command(module: str, *arguments: str) -> list[str]:
    location = ["-w", str(WORKSPACE)] if WORKSPACE.exists() else ["-m", _MODULE]
    return [sys.executable, "-m", module, *arguments, *location]
