"""`batch-predictions check-source`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from batch_predictions.cli.command import command
from batch_predictions.cli.options import Home, Json, load_settings


@command("check-source", order=20)
def check_source(
    context: typer.Context,
    home: Home = None,
    as_json: Json = False,
    rows: Annotated[int, typer.Option(help="Rows to read of each table.", min=1)] = 1000,
) -> None:
    """Read a sample of the source through the mapping and report what it holds; write nothing.

    Exits with 1 if a table cannot be read, or if all of its rows are refused.
    """
    from batch_predictions.discovery import load_plugins
    from batch_predictions.sources.source_check import check_source

    settings = load_settings(home, context)
    load_plugins(settings.plugins)
    report = check_source(settings, rows)
    typer.echo(json.dumps(report.as_dict(), default=str) if as_json else report.render())
    if not report.ok:
        raise typer.Exit(1)
