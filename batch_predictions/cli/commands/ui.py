"""`batch-predictions ui`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from batch_predictions.cli.command import command
from batch_predictions.cli.options import Home, load_settings

WORKSPACE = Path(__file__).parents[3] / "workspace.yaml"
"""The checkout's; an installed package has none."""


@command("ui", order=50)
def ui(
    context: typer.Context,
    home: Home = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1)] = 3000,
) -> None:
    """Open Dagster on this home folder: lineage, partitions, schedules, plots. Ends with Ctrl-C."""
    from batch_predictions.automation.instance import prepare
    from batch_predictions.discovery import load_plugins
    from batch_predictions.sources.home_state import initialise_home

    settings = load_settings(home, context)
    load_plugins(settings.plugins)
    initialise_home(settings)
    prepare(settings)
    os.environ["BATCH_PREDICTIONS_HOME"] = str(settings.home)
    module = ["-m", "batch_predictions.definitions"]
    location = ["-w", str(WORKSPACE)] if WORKSPACE.exists() else module
    command = [sys.executable, "-m", "dagster", "dev", *location, "-h", host, "-p", str(port)]
    # Dagster ends its processes by SIGINT, which shells have background processes ignore.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # This process becomes Dagster, so that signals reach it.
    os.execv(command[0], command)  # noqa: S606
