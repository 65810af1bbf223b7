"""The command `batch-predictions costs`, which sums what tables and models have cost."""

from __future__ import annotations

import datetime as dt
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, day_of, load_settings
from batch_predictions.cli.console.printing import print_table

DAYS = 60
"""Weeks of promotions that are known ahead have dates after the newest day."""


class By(StrEnum):
    """The dimension by which costs are summed."""

    asset = "asset"
    date = "date"
    run_id = "run_id"


@command("costs", order=60)
def costs(
    context: typer.Context,
    home: Home = None,
    first: Annotated[
        dt.datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First date. [default: 60 days before]"),
    ] = None,
    date: Annotated[
        dt.datetime | None,
        typer.Option("--date", formats=["%Y-%m-%d"], help="Last date. [default: the newest]"),
    ] = None,
    by: Annotated[By, typer.Option("--by", help="What to sum by.")] = By.asset,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw CPU seconds by date, PNG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show seconds, CPU seconds, peak memory, bytes and money of every table and model.

    They are read from `evaluation.costs`, which every run writes. Prices are settings:
    `costs.core_hour`, `costs.gpu_hour` and `costs.gib_month`; for the bucket of a
    home `costs.million_writes`, `costs.million_reads` and, for downloads, `costs.gib_received`.
    """
    from batch_predictions.operations.costs.collect import collect_costs
    from batch_predictions.operations.costs.cost_report import (
        OF_BUCKETS,
        cost_per_million,
        plot_costs,
        sum_costs,
    )
    from batch_predictions.tables import COSTS
    from batch_predictions.warehouse import Warehouse

    settings = load_settings(home, context)
    collect_costs(settings)
    warehouse = Warehouse.of(settings)
    dates = warehouse.partitions(COSTS)
    last = day_of(date) or (dt.date.fromisoformat(dates[-1]) if dates else dt.date(1970, 1, 1))
    begin = day_of(first) or last - dt.timedelta(days=DAYS)
    rows = sum_costs(warehouse, begin, last, by.value)
    total = cost_per_million(warehouse, begin, last)
    if as_json:
        typer.echo(json.dumps({"rows": rows, **total}, default=str))
    else:
        hidden = () if any(row["requests"] for row in rows) else OF_BUCKETS
        print_table([{key: row[key] for key in row if key not in hidden} for row in rows])
        if total:
            typer.echo(
                f"a million predictions: {total['cpu_seconds_per_million']:,.0f} CPU seconds, cost "
                f"{total['cost_per_million']:,.4f} ({total['predictions']:,.0f} rows, {begin} to "
                f"{last})"
            )
    if plot and not plot_costs(warehouse, begin, last, plot):
        typer.echo("there is nothing to draw", err=True)
