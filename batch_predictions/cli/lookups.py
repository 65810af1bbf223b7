"""`batch-predictions lookup …`: what applications are answered."""

from __future__ import annotations

import json
from typing import Annotated, Any

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
    from batch_predictions.serving.lookup.sentiment import item_sentiment, sentiment_lines

    with Lookup(settings_of(home, context)) as lookup:
        answer = item_sentiment(lookup, item_id)
    typer.echo(json.dumps(answer, default=str) if as_json else "\n".join(sentiment_lines(answer)))


@lookup_app.command("churn")
def lookup_churn(
    context: typer.Context,
    user_id: Annotated[str, typer.Argument(help="Which customer.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """How likely a customer is to buy nothing in the coming days."""
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.lookup.audiences import churn, churn_lines

    with Lookup(settings_of(home, context)) as lookup:
        answer = churn(lookup, user_id)
    typer.echo(json.dumps(answer, default=str) if as_json else "\n".join(churn_lines(answer)))


@lookup_app.command("retention")
def lookup_retention(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="Customers at most.", min=1)] = 20,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Inactive customers worth winning back, the most valuable first."""
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.lookup.audiences import retention

    with Lookup(settings_of(home, context)) as lookup:
        answer = retention(lookup, limit)
    _show(answer, as_json)


@lookup_app.command("promotions")
def lookup_promotions(
    context: typer.Context,
    campaign: Annotated[str | None, typer.Argument(help="Which campaign.")] = None,
    user: Annotated[str | None, typer.Option(help="Campaigns of this customer.")] = None,
    limit: Annotated[int, typer.Option(help="Rows at most.", min=1)] = 20,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """The audience of a campaign, the most interested first, or the campaigns of a customer."""
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.lookup.audiences import promotions

    with Lookup(settings_of(home, context)) as lookup:
        answer = promotions(lookup, campaign, user, limit)
    _show(answer, as_json)


def _show(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, default=str))
        return
    typer.echo(f"as of {answer['as_of']}, release {answer['release_id']}")
    print_table(answer["rows"])


@lookup_app.command("forecast")
def lookup_forecast(
    context: typer.Context,
    item_id: Annotated[str, typer.Argument(help="Which item, or category:NAME for a total.")],
    location: Annotated[str | None, typer.Option(help="Which shop alone.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """How many units of an item will be wanted on each of the next days, with intervals."""
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.lookup.demand import forecast, forecast_lines

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
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.lookup.demand import order_lines, orders

    with Lookup(settings_of(home, context)) as lookup:
        answer = orders(lookup, item_id, limit)
    typer.echo(json.dumps(answer, default=str) if as_json else "\n".join(order_lines(answer)))
