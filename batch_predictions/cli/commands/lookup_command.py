"""`batch-predictions lookup …`: predictions by key, as applications get them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, load_settings
from batch_predictions.cli.console.printing import print_table


@command("lookup recommendations", order=10)
def lookup_recommendations(
    context: typer.Context,
    user_id: Annotated[
        str, typer.Argument(help="The user; one who is not known yet gets the list of a segment.")
    ],
    age_bracket: Annotated[
        str | None,
        typer.Option(help="Age bracket such as 35-44, or an age, of a user who is not known yet."),
    ] = None,
    gender: Annotated[str | None, typer.Option(help="As the source writes it.")] = None,
    location: Annotated[str | None, typer.Option(help="As the source writes it.")] = None,
    k: Annotated[int, typer.Option(help="Items at most.", min=1)] = 10,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """The best items for a user: personal, else of their demographic segment, else popular.

    The answer says which of these it is.
    """
    from batch_predictions.serving.lookup import Lookup

    with Lookup(load_settings(home, context)) as lookup:
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


@command("lookup sentiment", order=20)
def lookup_sentiment(
    context: typer.Context,
    item_id: Annotated[str, typer.Argument(help="The item.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Sentiment of an item's reviews in the newest week, and the words that stand out."""
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.lookup.item_lookup import item_sentiment, sentiment_lines

    with Lookup(load_settings(home, context)) as lookup:
        answer = item_sentiment(lookup, item_id)
    typer.echo(json.dumps(answer, default=str) if as_json else "\n".join(sentiment_lines(answer)))


@command("lookup churn", order=30)
def lookup_churn(
    context: typer.Context,
    user_id: Annotated[str, typer.Argument(help="The customer.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """The probability that a customer buys nothing in the coming days (churn)."""
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.lookup.user_lookup import churn, churn_lines

    with Lookup(load_settings(home, context)) as lookup:
        answer = churn(lookup, user_id)
    typer.echo(json.dumps(answer, default=str) if as_json else "\n".join(churn_lines(answer)))


@command("lookup retention", order=40)
def lookup_retention(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="Customers at most.", min=1)] = 20,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """The retention audience: inactive customers to win back, highest expected value first."""
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.lookup.user_lookup import retention

    with Lookup(load_settings(home, context)) as lookup:
        answer = retention(lookup, limit)
    _print_answer(answer, as_json)


@command("lookup promotions", order=50)
def lookup_promotions(
    context: typer.Context,
    campaign: Annotated[str | None, typer.Argument(help="The campaign.")] = None,
    user: Annotated[str | None, typer.Option(help="Campaigns of this customer.")] = None,
    limit: Annotated[int, typer.Option(help="Rows at most.", min=1)] = 20,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """The audience of a campaign, highest score first, or the campaigns of a customer."""
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.lookup.user_lookup import promotions

    with Lookup(load_settings(home, context)) as lookup:
        answer = promotions(lookup, campaign, user, limit)
    _print_answer(answer, as_json)


def _print_answer(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, default=str))
        return
    typer.echo(f"as of {answer['as_of']}, release {answer['release_id']}")
    print_table(answer["rows"])


@command("lookup forecast", order=60)
def lookup_forecast(
    context: typer.Context,
    item_id: Annotated[str, typer.Argument(help="The item, or category:NAME for a total.")],
    location: Annotated[str | None, typer.Option(help="One location only.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Expected units of an item on each of the next days, with intervals."""
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.lookup.item_lookup import forecast, forecast_lines

    with Lookup(load_settings(home, context)) as lookup:
        answer = forecast(lookup, item_id, location)
    typer.echo(json.dumps(answer, default=str) if as_json else "\n".join(forecast_lines(answer)))


@command("lookup orders", order=70)
def lookup_orders(
    context: typer.Context,
    item_id: Annotated[str | None, typer.Argument(help="The item; without it, all.")] = None,
    limit: Annotated[int, typer.Option(help="Orders at most.", min=1)] = 20,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """What to order now, with reorder point and safety stock, the largest orders first."""
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.lookup.item_lookup import order_lines, orders

    with Lookup(load_settings(home, context)) as lookup:
        answer = orders(lookup, item_id, limit)
    typer.echo(json.dumps(answer, default=str) if as_json else "\n".join(order_lines(answer)))
