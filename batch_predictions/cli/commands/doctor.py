"""`batch-predictions doctor`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from batch_predictions.cli.command import command
from batch_predictions.cli.options import Home, Json, load_settings
from batch_predictions.cli.pending_erasures import finish_pending_erasures
from batch_predictions.cli.printing import show_file_progress


@command("doctor", order=37)
def doctor(
    context: typer.Context,
    home: Home = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Move damaged files to <home>/damaged; `run` makes them again."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Read every file of the home and name those that are damaged. Exit code 1 if there are any.

    `run` verifies new and changed partitions by itself; this command reads every row, and the files
    of models, decisions, logs and the serving store too.
    """
    from batch_predictions.automation.health import examine, move_problems_aside
    from batch_predictions.discovery import load_plugins
    from batch_predictions.home_lock import home_lock

    settings = load_settings(home, context)
    with home_lock(settings.home, " ".join(["batch-predictions", *sys.argv[1:]])):
        load_plugins(settings.plugins)
        finish_pending_erasures(settings)
        with show_file_progress("reading") as on_progress:
            problems = examine(settings, on_progress)
        moved = move_problems_aside(settings, problems) if repair else []
    left = [problem for problem in problems if problem not in moved]
    if as_json:
        shown = {"damaged": left, "moved": moved}
        typer.echo(json.dumps({name: [p.as_dict() for p in ps] for name, ps in shown.items()}))
    else:
        for problem in moved:
            typer.echo(f"moved    {problem}")
        for problem in left:
            typer.echo(f"damaged  {problem}")
        typer.echo(_conclusion(len(left), len(moved)))
    if left:
        raise typer.Exit(1)


def _conclusion(left: int, moved: int) -> str:
    if left:
        return (
            f"{left} files are damaged: `batch-predictions doctor --repair` moves those aside that "
            "can be made again"
        )
    if moved:
        return f"{moved} files were moved: `batch-predictions run` makes them again"
    return "no file is damaged"
