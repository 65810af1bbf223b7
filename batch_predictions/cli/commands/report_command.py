"""The command `batch-predictions report`: one page for people who decide."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, day_of, load_settings
from batch_predictions.settings import Settings, SettingsError


@command("report", order=58)
def report(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write. [default: HOME/report.html]",
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
    page: Annotated[
        str,
        typer.Option(
            help="report, quality, operations, data, or models/NAME. [default: report]",
            show_default=False,
        ),
    ] = "report",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write a page about the predictions: for whom, how good, who is left out, what they cost.

    One HTML file that loads nothing from elsewhere, to be mailed or printed. Every table and figure
    names the tables of the warehouse that it is of. While `batch-predictions serve` runs,
    /explorer has it too, with pages about quality, operations, data and each model.
    """
    from batch_predictions.core.home import REPORT
    from batch_predictions.operations.report import report_pages
    from batch_predictions.operations.report.report_home import ReportHome
    from batch_predictions.orchestration.dagster_records import DagsterRecords
    from batch_predictions.planning.declarations import load_declarations

    settings = load_settings(home, context)
    load_declarations(settings)
    is_report = page == report_pages.REPORT_PAGE
    if page not in (names := report_pages.page_names()):
        raise SettingsError(f"there is no page {page!r}: {', '.join(names)}")
    day = _last_day(settings, day_of(date), week.date() if week else None, is_required=is_report)
    reported = ReportHome(settings, day, identifiers, DagsterRecords(settings))
    if as_json:
        typer.echo(json.dumps({"sections": report_pages.page_sections(reported, page)}))
    elif out is None and not is_report:
        raise SettingsError(f"--page {page} needs --out FILE or --json; /explorer/{page} shows it")
    else:
        _write(report_pages.render_page(reported, page), out or settings.home / REPORT, day)


def _write(text: str, target: Path, day: dt.date) -> None:
    from batch_predictions.core.durability import atomic_write

    atomic_write(target, text)
    typer.echo(f"{target}: {len(text.encode()) / 1e6:.1f} MB, as of {day}")


def _last_day(
    settings: Settings, date: dt.date | None, week: dt.date | None, *, is_required: bool
) -> dt.date:
    """The day that a page ends with: one of the options, at most the newest that has rows.

    Raises:
        SettingsError: the home has no rows, and the page needs some.
    """
    from batch_predictions.sources.shrinkage import newest_ingested_day
    from batch_predictions.sources.source_registry import current_date
    from batch_predictions.tables import week_of

    newest = newest_ingested_day(settings.home)
    if newest is None and is_required:
        raise SettingsError(f"{settings.home} has no rows: `batch-predictions run` first")
    newest = newest or current_date("UTC")
    sunday = week_of(week) + dt.timedelta(days=6) if week else newest
    return min(date or sunday, newest)
