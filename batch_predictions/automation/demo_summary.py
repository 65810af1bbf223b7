"""The closing words of a run: what was made, where it is, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batch_predictions.automation.run import Summary
from batch_predictions.partitions import latest_ended_week
from batch_predictions.serving.lookup import Lookup, demand
from batch_predictions.serving.lookup.audiences import retention
from batch_predictions.serving.lookup.sentiment import item_sentiment, sentiment_lines
from batch_predictions.serving.sign_ups import add_sign_ups
from batch_predictions.serving.store.schema import Store
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse, as_date

SIMULATED = {"user_id": "simulated-sign-up", "age_bracket": "35-44"}


def simulate_sign_up(settings: Settings) -> None:
    """Adds one user who has just signed up, marked as simulated, to the current release."""
    store = Store.of(settings)
    try:
        add_sign_ups(store, [SIMULATED], simulated=True)
    finally:
        store.close()


def as_text(settings: Settings, summary: Summary) -> str:
    """The summary for people."""
    return "\n".join([*_made(summary), *_lookups(settings, summary), *_next(settings, summary)])


def _made(summary: Summary) -> Iterator[str]:
    yield f"Done in {summary.seconds:.0f} s. Home: {summary.home}"
    yield ""
    if summary.ingested:
        span = f"{summary.ingested[0]} to {summary.ingested[-1]}"
        yield f"  ingested     {len(summary.ingested)} days of new or changed rows, {span}"
    else:
        yield "  ingested     nothing: the source has not changed"
    for each in summary.trained:
        yield f"  trained      {each['model']} through {each['effective_from']}: {each['decision']}"
        yield f"               {each['why']}"
    if not summary.trained:
        yield "  trained      nothing: every model that is due is there"
    span = summary.last_day
    if summary.first_day != summary.last_day:
        span = f"{summary.first_day} to {summary.last_day}"
    yield f"  predicted    {span}"
    for table, rows in summary.rows.items():
        yield f"               {rows:>9,} rows of {table} as of {summary.last_day}"
    yield f"  released     {summary.release_id or 'nothing'}"
    for skipped in summary.skipped:
        yield f"  skipped      {skipped}"
    for table, keys in summary.stale.items():
        days = keys[0] if len(keys) == 1 else f"{keys[0]} to {keys[-1]} ({len(keys)})"
        yield f"  stale        {table} {days}: made from rows that were corrected since"
    if summary.stale:
        first = min(key for keys in summary.stale.values() for key in keys)
        yield f"               `batch-predictions run --from {first}` makes them again"


def _lookups(settings: Settings, summary: Summary) -> Iterator[str]:
    if not summary.release_id:
        return
    yield ""
    yield "Lookups:"
    with Lookup(settings) as lookup:
        if summary.rows.get("demographic_recommendations"):
            yield from _recommended(settings, summary, lookup)
        item = Warehouse.of(settings).value(
            """select item_id from predictions.item_sentiments where week = $week
            order by changed desc, reviews desc, item_id limit 1""",
            {"week": latest_ended_week(as_date(summary.last_day))},
        )
        if item:
            yield f"  batch-predictions lookup sentiment {item}"
            yield from (f"    {line}" for line in sentiment_lines(item_sentiment(lookup, item)))
        if summary.rows.get("retention_audience"):
            first = retention(lookup, 1)["rows"][0]
            yield "  batch-predictions lookup retention"
            yield f"    first of all {first['user_id']}: {first['reason']}"
        if summary.rows.get("replenishment_orders"):
            yield from _wanted(lookup)


def _wanted(lookup: Lookup) -> Iterator[str]:
    """The item of the largest order, or of the largest level where stock is not known."""
    largest = demand.orders(lookup, limit=1)["orders"][0]["item_id"]
    yield f"  batch-predictions lookup forecast {largest}"
    lines = list(demand.forecast_lines(demand.forecast(lookup, largest)))
    yield from (f"    {line}" for line in lines[:4])
    yield f"  batch-predictions lookup orders {largest}"
    answer = demand.orders(lookup, largest)
    yield from (f"    {line}" for line in demand.order_lines(answer))


def _recommended(settings: Settings, summary: Summary, lookup: Lookup) -> Iterator[str]:
    known = Warehouse.of(settings).value(
        """select user_id from predictions.recommendations where date = $date::DATE
        order by user_id limit 1""",
        {"date": summary.last_day},
    )
    asked: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    if known:
        asked.append((f"lookup recommendations {known}", {"user_id": known}, {}))
    bracket = SIMULATED["age_bracket"]
    asked.append(
        (
            f"lookup recommendations new-user --age-bracket {bracket}",
            {"user_id": "new-user"},
            {"age_bracket": bracket},
        )
    )
    asked.append(("lookup recommendations stranger", {"user_id": "stranger"}, {}))
    for words, user, given in asked:
        answer = lookup.recommendations(**user, **given, k=3)
        yield f"  batch-predictions {words}"
        items = ", ".join(str(item["title"] or item["item_id"]) for item in answer["items"])
        yield f"    {answer['source']}: {items}"


def _next(settings: Settings, summary: Summary) -> Iterator[str]:
    database = f"{settings.home}/warehouse.duckdb"
    yield ""
    yield "Next:"
    yield "  batch-predictions models metrics           how good the models are, and the baselines"
    yield "  make ui                                    the asset graph, schedules and plots"
    yield f"  duckdb -readonly {database} \\"
    table = "recommendations" if summary.rows.get("recommendations") else "item_sentiments"
    yield f'      "from predictions.{table} limit 20"'
    yield "  batch-predictions init                     to point it at tables of your own"
