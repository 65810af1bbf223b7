"""`batch-predictions audiences …`: campaigns of one's own, and lists to send."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal

import typer

from batch_predictions.cli.command import command
from batch_predictions.cli.options import Home, day_of, load_settings


@command("audiences add-campaign", order=10)
def add_campaign(
    context: typer.Context,
    campaign: Annotated[str, typer.Argument(help="Its name; adding it again replaces it.")],
    starts: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")],
    ends: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    items: Annotated[str, typer.Option(help="Item ids, with commas.")] = "",
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Item ids, one a line.")
    ] = None,
    home: Home = None,
) -> None:
    """Make a list of items a campaign of the kind ad_hoc, from the next prediction on."""
    from batch_predictions.home import home_lock
    from batch_predictions.serving import exports
    from batch_predictions.warehouse import Warehouse

    settings = load_settings(home, context)
    listed = [*items.split(","), *(exports.items_in(file) if file else ())]
    with home_lock(settings.home, "batch-predictions audiences add-campaign"):
        rows = exports.add_campaign(
            Warehouse.of(settings), campaign, listed, starts.date(), ends.date()
        )
    typer.echo(f"{campaign}: {rows} items from {starts.date()} to {ends.date()}")
    typer.echo("`batch-predictions run` makes its audience", err=True)


@command("audiences export", order=20)
def export(
    context: typer.Context,
    audience: Annotated[Literal["retention", "promotions"], typer.Argument(help="Which audience.")],
    campaign: Annotated[str | None, typer.Option(help="promotions: this one alone.")] = None,
    date: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="As of this day. [default: the newest]"),
    ] = None,
    format_: Annotated[Literal["csv"], typer.Option("--format", help="Form of the list.")] = "csv",
    output: Annotated[
        Path | None, typer.Option(help="File to write. [default: the standard output]")
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--with-held-out", help="With those not to be contacted, marked so.")
    ] = False,
    marked: Annotated[
        bool, typer.Option("--mark-listed", help="Record the list in raw.campaign_events.")
    ] = False,
    home: Home = None,
) -> None:
    """Write an audience as CSV; with --mark-listed nobody on it is listed again soon."""
    from batch_predictions.home import home_lock
    from batch_predictions.serving import exports
    from batch_predictions.warehouse import Warehouse

    settings = load_settings(home, context)
    warehouse = Warehouse.of(settings)
    rows = exports.audience(warehouse, audience, day_of(date), campaign, held_out)
    text = exports.as_csv(rows)
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)
    typer.echo(f"{rows.num_rows} customers", err=True)
    if marked:
        with home_lock(settings.home, "batch-predictions audiences export"):
            number = exports.mark_listed(warehouse, audience, rows)
        typer.echo(f"{number} recorded as listed", err=True)
