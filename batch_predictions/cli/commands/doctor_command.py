"""The command `batch-predictions doctor`, which examines the machine and the home's files."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, load_settings
from batch_predictions.cli.console.pending_erasures import finish_pending_erasures
from batch_predictions.cli.console.printing import show_file_progress

if TYPE_CHECKING:
    from batch_predictions.core.home import State
    from batch_predictions.settings import Settings


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
    """Look at the machine, and read every file of the home. Exit code 1 if one is damaged.

    Of Python, cores, memory, disk, clock, daemon, source and store it says what is worth a look,
    and what to do; the exit code is 1, too, if the source or the store cannot be read. Partitions
    are compared with the digests of what was written. A run does so with those that have changed,
    and with a share of the others (checks.verify_mb). This command reads all of them, and the files
    of models, decisions, logs and the serving store.
    """
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.operations.health import examine, repair_problems
    from batch_predictions.operations.machine import examine_machine
    from batch_predictions.orchestration.dagster_records import DagsterRecords
    from batch_predictions.planning.declarations import load_declarations

    settings = load_settings(home, context)
    with home_lock(settings.home, " ".join(["batch-predictions", *sys.argv[1:]])):
        load_declarations(settings)
        finish_pending_erasures(settings)
        with show_file_progress("reading") as on_progress:
            problems = examine(settings, on_progress)
        repaired = repair_problems(settings, problems) if repair else {}
        findings = examine_machine(settings, _readable_state(settings), DagsterRecords(settings))
    left = [problem for problem in problems if problem not in repaired]
    failed = [finding for finding in findings if finding.state == "failed"]
    if as_json:
        shown = {
            "damaged": [problem.as_dict() for problem in left],
            "moved": [problem.as_dict() for problem in repaired],
            "machine": [finding.as_dict() for finding in findings],
        }
        typer.echo(json.dumps(shown))
    else:
        for finding in findings:
            typer.echo(finding)
        for problem, act in repaired.items():
            typer.echo(f"{act:<9}{problem}")
        for problem in left:
            typer.echo(f"damaged  {problem}")
        typer.echo(_conclusion(len(left), list(repaired.values())))
    if left or failed:
        raise typer.Exit(1)


def _readable_state(settings: Settings) -> State | None:
    """The home's state; None before its first run, and where its file is damaged."""
    from batch_predictions.core.home import HomeError, read_state

    try:
        return read_state(settings.home)
    except HomeError:
        return None


def _conclusion(left: int, repaired: Sequence[str]) -> str:
    if left:
        return (
            f"{left} files are damaged: `batch-predictions doctor --repair` moves those aside that "
            "can be made again"
        )
    if moved := repaired.count("moved"):
        return f"{moved} files were moved: `batch-predictions run` makes them again"
    if repaired:
        return f"{len(repaired)} files were uploaded again"
    return "no file is damaged"
