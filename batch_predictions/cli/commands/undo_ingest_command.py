"""The command `batch-predictions undo-ingest`, which puts back what an ingest replaced."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, load_settings


@command("undo-ingest", order=37)
def undo_ingest(
    context: typer.Context,
    first: Annotated[
        dt.datetime, typer.Argument(formats=["%Y-%m-%d"], help="First day.", show_default=False)
    ],
    last: Annotated[
        dt.datetime | None,
        typer.Argument(formats=["%Y-%m-%d"], help="Last day. [default: the first]"),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Restore the raw rows of days that the newest ingest replaced.

    They stay until the source changes again. Replaced files are kept for 14 days.
    """
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.sources.base import RAW_TABLES
    from batch_predictions.sources.shrinkage import undo_ingest as undo
    from batch_predictions.warehouse import Warehouse

    settings = load_settings(home, context)
    days = [day.date().isoformat() for day in (first, last or first)]
    with home_lock(settings.home, " ".join(["batch-predictions", *sys.argv[1:]])):
        warehouse = Warehouse.of(settings)
        tables = [table for table in RAW_TABLES if table.partition]
        undone = {table.name: undo(warehouse, table, *days) for table in tables}
    undone = {name: keys for name, keys in undone.items() if keys}
    if as_json:
        typer.echo(json.dumps(undone))
    for name, keys in {} if as_json else undone.items():
        typer.echo(f"raw.{name}: {len(keys):,} days are as before, {keys[0]} to {keys[-1]}")
    if not undone:
        typer.echo(f"no rows of {days[0]} to {days[1]} were replaced in the last 14 days", err=True)
        raise typer.Exit(1)
    if not as_json:
        typer.echo(f"`batch-predictions run --from {days[0]}` predicts from them again")
