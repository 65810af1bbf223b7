"""The command `batch-predictions check-source`, which examines the source."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, load_settings, require_source


@command("check-source", order=20)
def check_source(
    context: typer.Context,
    home: Home = None,
    as_json: Json = False,
    rows: Annotated[
        int | None,
        typer.Option(
            help="Rows to read of each table. [default: all; of weekly ones 100,000]", min=1
        ),
    ] = None,
) -> None:
    """Read the source, say what it holds and allows, and propose settings.

    It shows what is read, refused and not understood, sums by month to compare with the till, the
    types of events, what is known of users and items, and what each use case can do with it. It
    writes nothing. Exits with 1 if a table cannot be read, if all of its rows are refused, or if
    `run` would fail on the settings.
    """
    from batch_predictions.cli.console.review_languages import detect_text_languages
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.sources.checking.check import check_source

    settings = load_settings(home, context)
    require_source(settings)
    load_declarations(settings)
    report = check_source(settings, rows, detect_languages=detect_text_languages)
    typer.echo(json.dumps(report.as_dict(), default=str) if as_json else report.render())
    if not report.ok:
        raise typer.Exit(1)
