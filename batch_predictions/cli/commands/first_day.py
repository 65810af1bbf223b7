"""The command `batch-predictions first-day`, which shows or moves the home's first day."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, day_of, load_settings
from batch_predictions.settings import Settings


@command("first-day", order=36)
def first_day(
    context: typer.Context,
    day: Annotated[
        dt.datetime | None,
        typer.Argument(formats=["%Y-%m-%d"], help="The new first day.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before removing.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show the home's first day, or move it. The first run sets it to the source's first day.

    The next run ingests the days from an earlier first day on. Partitions before a later one are
    removed, and rows of these days are refused from then on.
    """
    from batch_predictions.core.home import read_state
    from batch_predictions.core.home_bucket import location_of
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.sources.home_state import move_first_day

    settings = load_settings(home, context)
    wanted = day_of(day)
    if wanted is None:
        state = read_state(settings.home)
        shown = str(state.first_day) if state else None
        typer.echo(json.dumps({"first_day": shown}) if as_json else shown or "not set yet")
        return
    with home_lock(settings.home, " ".join(["batch-predictions", *sys.argv[1:]])):
        load_declarations(settings)
        if not yes:
            _confirm(settings, wanted)
        move = move_first_day(settings, wanted)
    if as_json:
        removed = {"removed": move.removed}
        typer.echo(
            json.dumps({"before": str(move.before), "first_day": str(move.after), **removed})
        )
        return
    removed_partitions = sum(move.removed.values())
    typer.echo(
        f"The first day is {move.after}, before {move.before}; {removed_partitions:,} partitions "
        f"were removed. `batch-predictions run` ingests what is due. "
        f"Home: {location_of(settings.home)}"
    )


def _confirm(settings: Settings, day: dt.date) -> None:
    """Asks whether the partitions before a day may be removed, if there are any."""
    from batch_predictions.sources.home_state import partitions_before

    earlier = partitions_before(settings, day)
    if earlier:
        number = sum(len(keys) for keys in earlier.values())
        typer.confirm(
            f"{number:,} partitions of {len(earlier)} tables before {day} will be removed. Go on?",
            abort=True,
        )
