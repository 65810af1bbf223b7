"""The command `batch-predictions report`: one page for people who decide."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, day_of, load_settings
from batch_predictions.settings import SettingsError


@command("report", order=58)
def report(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write. [default: HOME/report.html, which the explorer shows]",
            dir_okay=False,
        ),
    ] = None,
    date: Annotated[
        dt.datetime | None,
        typer.Option(
            "--date", formats=["%Y-%m-%d"], help="Last day of the report. [default: the newest]"
        ),
    ] = None,
    week: Annotated[
        dt.datetime | None,
        typer.Option(
            "--week", formats=["%Y-%m-%d"], help="A day of the week that the report ends with."
        ),
    ] = None,
    identifiers: Annotated[
        bool, typer.Option("--identifiers", help="Name users by their ids, not by numbers.")
    ] = False,
    home: Home = None,
) -> None:
    """Write a page about the predictions: for whom, how good, who is left out, what they cost.

    One HTML file that loads nothing from elsewhere, to be mailed, printed, or read at
    /explorer/report while `batch-predictions serve` runs. Every table and figure names the tables
    of the warehouse that it is of.
    """
    from batch_predictions.core.durability import atomic_write
    from batch_predictions.core.home import REPORT
    from batch_predictions.operations.report.page import render_report
    from batch_predictions.operations.report.report_home import ReportHome
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.sources.shrinkage import newest_ingested_day
    from batch_predictions.tables import week_of

    settings = load_settings(home, context)
    load_declarations(settings)
    newest = newest_ingested_day(settings.home)
    if newest is None:
        raise SettingsError(f"{settings.home} has no rows: `batch-predictions run` first")
    sunday = week_of(week.date()) + dt.timedelta(days=6) if week else newest
    day = min(day_of(date) or sunday, newest)
    page = render_report(ReportHome(settings, day, with_ids=identifiers))
    target = out or settings.home / REPORT
    atomic_write(target, page)
    typer.echo(f"{target}: {len(page.encode()) / 1e6:.1f} MB, as of {day}")
