"""`batch-predictions audiences …`: add campaigns, export audiences."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, day_of, load_settings


@command("audiences add-campaign", order=10)
def add_campaign(
    context: typer.Context,
    campaign: Annotated[str, typer.Argument(help="Its name; an existing one is replaced.")],
    starts: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")],
    ends: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    items: Annotated[str, typer.Option(help="Item ids, separated by commas.")] = "",
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="File with one item id a line.")
    ] = None,
    home: Home = None,
) -> None:
    """Add a campaign of your own (kind ad_hoc); the next run computes its audience."""
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.serving import exports
    from batch_predictions.warehouse import Warehouse

    settings = load_settings(home, context)
    item_ids = [*items.split(","), *(exports.read_item_ids(file) if file else ())]
    with home_lock(settings.home, "batch-predictions audiences add-campaign"):
        rows = exports.add_campaign(
            Warehouse.of(settings), campaign, item_ids, starts.date(), ends.date()
        )
    typer.echo(f"{campaign}: {rows} items from {starts.date()} to {ends.date()}")
    typer.echo("next: `batch-predictions run` computes its audience", err=True)


@command("audiences export", order=20)
def export(
    context: typer.Context,
    audience: Annotated[Literal["retention", "promotions"], typer.Argument(help="Which audience.")],
    campaign: Annotated[str | None, typer.Option(help="promotions: only this campaign.")] = None,
    date: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="As of this day. [default: the newest]"),
    ] = None,
    format_: Annotated[Literal["csv"], typer.Option("--format", help="File format.")] = "csv",
    output: Annotated[
        Path | None, typer.Option(help="File to write. [default: the standard output]")
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--with-held-out", help="Include customers who must not be contacted (held_out)."
        ),
    ] = False,
    marked: Annotated[
        bool,
        typer.Option("--mark-listed", help="Record the customers in raw.campaign_events."),
    ] = False,
    home: Home = None,
) -> None:
    """Write an audience as CSV.

    After `--mark-listed` its customers are not listed for retention again for
    audiences.quiet_days.
    """
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.serving import exports
    from batch_predictions.warehouse import Warehouse

    settings = load_settings(home, context)
    warehouse = Warehouse.of(settings)
    rows = exports.read_audience(warehouse, audience, day_of(date), campaign, held_out)
    text = exports.to_csv(rows)
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)
    typer.echo(f"{rows.num_rows} customers", err=True)
    if marked:
        with home_lock(settings.home, "batch-predictions audiences export"):
            number = exports.mark_listed(warehouse, audience, rows)
        typer.echo(f"{number} recorded as listed", err=True)
