"""`batch-predictions lookup …`: what applications are answered."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from batch_predictions.cli.options import Home, Json, settings_of
from batch_predictions.cli.printing import print_table

lookup_app = typer.Typer(help="Look predictions up in the current release.", no_args_is_help=True)


@lookup_app.command("recommendations")
def lookup_recommendations(
    context: typer.Context,
    user_id: Annotated[str, typer.Argument(help="Whom to recommend to; need not be known.")],
    age_bracket: Annotated[
        str | None, typer.Option(help="Such as 35-44, or an age; for a user not known yet.")
    ] = None,
    gender: Annotated[str | None, typer.Option(help="As the source writes it.")] = None,
    location: Annotated[str | None, typer.Option(help="As the source writes it.")] = None,
    k: Annotated[int, typer.Option(help="How many items at most.", min=1)] = 10,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """The best items for a user: their own, else what users like them want, else what is popular.

    The source of the answer is said: personal, demographic or popular.
    """
    from batch_predictions.serving.lookup import Lookup

    with Lookup(settings_of(home, context)) as lookup:
        answer = lookup.recommendations(
            user_id, age_bracket=age_bracket, gender=gender, location=location, k=k
        )
    if as_json:
        typer.echo(json.dumps(answer, default=str))
        return
    segment = answer["segment"]
    typer.echo(
        f"{user_id}: {answer['source']}, as of {answer['as_of']}, release {answer['release_id']}"
        + (f", segment {segment}" if segment else "")
    )
    print_table(answer["items"])


@lookup_app.command("sentiment")
def lookup_sentiment(
    context: typer.Context,
    item_id: Annotated[str, typer.Argument(help="Which item.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """What an item's customers felt in the newest week, and the words that say why."""
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.sentiment import as_lines, item_sentiment

    with Lookup(settings_of(home, context)) as lookup:
        answer = item_sentiment(lookup, item_id)
    typer.echo(json.dumps(answer, default=str) if as_json else "\n".join(as_lines(answer)))


@lookup_app.command("forecast")
def lookup_forecast(
    context: typer.Context,
    item_id: Annotated[str, typer.Argument(help="Which item, or category:NAME for a total.")],
    location: Annotated[str | None, typer.Option(help="Which shop alone.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """How many units of an item will be wanted on each of the next days, with intervals."""
    from batch_predictions.serving.demand import forecast, forecast_lines
    from batch_predictions.serving.lookup import Lookup

    with Lookup(settings_of(home, context)) as lookup:
        answer = forecast(lookup, item_id, location)
    typer.echo(json.dumps(answer, default=str) if as_json else "\n".join(forecast_lines(answer)))


@lookup_app.command("orders")
def lookup_orders(
    context: typer.Context,
    item_id: Annotated[str | None, typer.Argument(help="Which item; without it, all.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1)] = 20,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """What to order now, and the levels of stock behind it, largest orders first."""
    from batch_predictions.serving.demand import order_lines, orders
    from batch_predictions.serving.lookup import Lookup

    with Lookup(settings_of(home, context)) as lookup:
        answer = orders(lookup, item_id, limit)
    typer.echo(json.dumps(answer, default=str) if as_json else "\n".join(order_lines(answer)))
