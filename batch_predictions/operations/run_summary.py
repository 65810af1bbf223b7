"""The summary that a run prints, and that a run with nothing to do repeats.

That of a demo run has tables and rows, some lookups, and the next commands.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from batch_predictions.core.home_bucket import bucket_of
from batch_predictions.serving.lookup import Lookup, item_lookup
from batch_predictions.serving.lookup.item_lookup import item_sentiment, sentiment_lines
from batch_predictions.serving.lookup.user_lookup import retention
from batch_predictions.serving.release.sign_ups import add_sign_ups
from batch_predictions.serving.store.store import Store
from batch_predictions.settings import Settings
from batch_predictions.sources.checking.sums import sums_lines, sums_query
from batch_predictions.sources.validation.event_types import EventTypes
from batch_predictions.tables import INTERACTIONS, REVIEWS, TABLES
from batch_predictions.tables.partitions import latest_ended_week
from batch_predictions.warehouse import Warehouse, as_date

EVENT_TABLES = (INTERACTIONS.name, REVIEWS.name)


_VERDICTS = {"baseline": "a baseline serves", "kept": "the model before goes on serving"}


@dataclass
class Summary:
    """The partitions, models and rows that a run made, skipped or failed to make.

    Attributes:
        home: the home folder.
        first_day: first day that was predicted.
        last_day: last day that was predicted.
        repaired: damaged files that were moved aside, and what became of their rows.
        ingested: days of interactions or reviews that are new or have changed.
        corrected: those of them that had been ingested before.
        stale: by table or model, partitions that were made from rows corrected since.
        trained: decisions of the trainings.
        rows: by prediction table, rows of the last day.
        skipped: predictions that the source has no data for, in words.
        not_released: why the release of the last day was not made; None: it was.
        failed: by table or model that could not be made, and by step at the end of the run, why,
            and what is served instead.
        lost: rows that the source has lost and that are kept until someone decides, in words.
        edited: scorers that were edited while their version stayed, in words.
        left_out: rows, values, events and keys that are left out, in words.
        sums: by raw table of events, sums by month from the first month with new rows.
        release_id: of the release that is served; None: none.
        served: the same in a sentence, with its day and since when it serves.
        unchanged: whether nothing was new, so that nothing was done.
        seconds: duration.
    """

    home: str
    first_day: str
    last_day: str
    repaired: list[str] = field(default_factory=list)
    ingested: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    stale: dict[str, list[str]] = field(default_factory=dict)
    trained: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    not_released: str | None = None
    failed: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    sums: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    release_id: str | None = None
    served: str = ""
    unchanged: bool = False
    seconds: float = 0.0

    def as_dict(self) -> dict[str, object]:
        """Returns the summary as a dictionary of JSON values."""
        return asdict(self)

    def add_ingested(
        self,
        before: Mapping[tuple[str, str], int],
        after: Mapping[tuple[str, str], int],
    ) -> None:
        """Adds the days of events that are new or have changed to the summary.

        Args:
            before: `partition_times` before the ingest.
            after: the same after it.
        """
        changed = {
            key
            for key, time_ in after.items()
            if time_ != before.get(key) and key[0] in EVENT_TABLES
        }
        self.ingested = sorted({day for _, day in changed})
        self.corrected = sorted({day for table, day in changed if (table, day) in before})


def sum_events(
    warehouse: Warehouse, event_types: EventTypes, first_day: str
) -> dict[str, list[dict[str, Any]]]:
    """Sums the raw tables of events by month, as `check-source` does with the source's rows.

    Args:
        warehouse: of the home.
        event_types: of the source.
        first_day: first day that is new or has changed; its month is the first one.
    """
    sums = {}
    for table in (INTERACTIONS, REVIEWS):
        rows = f"(select * from {table.qualified} where date >= $first)"
        if query := sums_query(table.name, rows, event_types):
            first = as_date(first_day).replace(day=1)
            sums[table.name] = warehouse.query(query[0], {**query[1], "first": first}).to_pylist()
    return {name: rows for name, rows in sums.items() if rows}


def count_rows(warehouse: Warehouse, day: dt.date, skipped: Collection[str]) -> dict[str, int]:
    """Counts the rows of every prediction table as of a day.

    Args:
        warehouse: of the home.
        day: the day; weekly tables are counted as of the newest week that had ended by then.
        skipped: names of tables to leave out.
    """
    counts = {}
    for table in TABLES.values():
        if table.name in skipped:
            continue
        if table.schema == "predictions" and table.is_periodic:
            key = day if table.partition == "date" else latest_ended_week(day)
            counts[table.name] = int(
                warehouse.value(
                    f"select count(*) from {table.qualified} where {table.partition} = $key",
                    {"key": key},
                )
            )
    return counts


SIMULATED_USER = {"user_id": "simulated-sign-up", "age_bracket": "35-44"}


def simulate_sign_up(settings: Settings) -> None:
    """Adds one new user, marked as simulated, to the release that is served."""
    with Store.of(settings) as store:
        add_sign_ups(store, [SIMULATED_USER], simulated=True)


def as_text(settings: Settings, summary: Summary, *, with_lookups: bool) -> str:
    """The summary as lines of text.

    Args:
        settings: of the home.
        summary: of the run.
        with_lookups: add some lookups, which show ids of users and items.
    """
    lookups = _lookup_lines(settings, summary) if with_lookups else iter(())
    parts = [_work_lines(summary), lookups, _next_lines(settings, summary)]
    return "\n".join(line for lines in parts for line in lines)


def headline(summary: Summary) -> str:
    """The first line of a summary: what was not made, or that all of it was."""
    if summary.not_released:
        return f"Not released: {summary.not_released}. {summary.served}"
    if summary.failed:
        return f"Released {summary.release_id}, but these failed: {', '.join(summary.failed)}."
    return f"Done in {summary.seconds:.0f} s. Home: {summary.home}"


def _work_lines(summary: Summary) -> Iterator[str]:
    yield headline(summary)
    yield ""
    for line in summary.repaired:
        yield f"  repaired     {line}"
    if summary.ingested:
        span = f"{summary.ingested[0]} to {summary.ingested[-1]}"
        yield f"  ingested     {len(summary.ingested)} days of new or changed rows, {span}"
    else:
        yield "  ingested     nothing: the source has not changed"
    for table_name, sums in summary.sums.items():
        yield f"               raw.{table_name} from {sums[0]['month']}:"
        yield from (f"               {line}" for line in sums_lines(sums))
    for decision in summary.trained:
        model, through = decision["model"], decision["effective_from"]
        verdict = _VERDICTS.get(decision["decision"], decision["decision"])
        yield f"  trained      {model} through {through}: {verdict}"
        yield f"               {decision['why']}"
    if not summary.trained:
        yield "  trained      nothing: all models are up to date"
    span = summary.last_day
    if summary.first_day != summary.last_day:
        span = f"{summary.first_day} to {summary.last_day}"
    yield f"  predicted    {span}"
    for table, rows in summary.rows.items():
        yield f"               {rows:>9,} rows of {table} as of {summary.last_day}"
    if (summary.release_id or "").startswith(summary.last_day) and not summary.not_released:
        yield f"  released     {summary.release_id}"
    else:
        yield f"  served       {summary.served}"
    for name, reason in summary.failed.items():
        yield f"  failed       {name}: {reason}"
    for line in (*summary.lost, *summary.edited):
        yield f"  decide       {line}"
    for line in summary.skipped:
        yield f"  skipped      {line}"
    for line in summary.left_out:
        yield f"  left out     {line}"
    for table, keys in summary.stale.items():
        days = keys[0] if len(keys) == 1 else f"{keys[0]} to {keys[-1]} ({len(keys)})"
        yield f"  stale        {table} {days}: made from rows that were corrected since"
    if summary.stale:
        first = min(key for keys in summary.stale.values() for key in keys)
        yield f"               `batch-predictions run --from {first}` makes them again"


def _lookup_lines(settings: Settings, summary: Summary) -> Iterator[str]:
    """Lookups of every use case that has rows."""
    if not summary.release_id:
        return
    yield ""
    yield "Lookups:"
    with Lookup(settings) as lookup:
        if summary.rows.get("demographic_recommendations"):
            yield from _recommendation_lines(settings, summary, lookup)
        yield from _sentiment_lines(settings, summary, lookup)
        if summary.rows.get("retention_audience"):
            first = retention(lookup, 1)["rows"][0]
            yield "  batch-predictions lookup retention"
            yield f"    1. {first['user_id']}: {first['reason']}"
        if summary.rows.get("replenishment_orders"):
            yield from _demand_lines(lookup)


def _recommendation_lines(settings: Settings, summary: Summary, lookup: Lookup) -> Iterator[str]:
    """A user with recommendations, one known by age only, and an unknown one."""
    user = Warehouse.of(settings).value(
        """select user_id from predictions.recommendations where date = $date::DATE
        order by user_id limit 1""",
        {"date": summary.last_day},
    )
    bracket = SIMULATED_USER["age_bracket"]
    examples: list[tuple[str, dict[str, Any]]] = [
        (f"new-user --age-bracket {bracket}", {"user_id": "new-user", "age_bracket": bracket}),
        ("unknown-user", {"user_id": "unknown-user"}),
    ]
    if user:
        examples.insert(0, (str(user), {"user_id": user}))
    for arguments, query in examples:
        answer = lookup.recommendations(**query, k=3)
        items = ", ".join(str(item["title"] or item["item_id"]) for item in answer["items"])
        yield f"  batch-predictions lookup recommendations {arguments}"
        yield f"    {answer['source']}: {items}"


def _sentiment_lines(settings: Settings, summary: Summary, lookup: Lookup) -> Iterator[str]:
    """The item with the most reviews, one whose sentiment changed first."""
    item = Warehouse.of(settings).value(
        """select item_id from predictions.item_sentiments where week = $week
        order by changed desc, reviews desc, item_id limit 1""",
        {"week": latest_ended_week(as_date(summary.last_day))},
    )
    if item:
        yield f"  batch-predictions lookup sentiment {item}"
        yield from (f"    {line}" for line in sentiment_lines(item_sentiment(lookup, item)))


def _demand_lines(lookup: Lookup) -> Iterator[str]:
    """The item of the largest order, or of the highest stock level where stock is not known."""
    item = item_lookup.orders(lookup, limit=1)["orders"][0]["item_id"]
    yield f"  batch-predictions lookup forecast {item}"
    lines = list(item_lookup.forecast_lines(item_lookup.forecast(lookup, item)))
    yield from (f"    {line}" for line in lines[:4])
    yield f"  batch-predictions lookup orders {item}"
    yield from (f"    {line}" for line in item_lookup.order_lines(item_lookup.orders(lookup, item)))


def _next_lines(settings: Settings, summary: Summary) -> Iterator[str]:
    table = "recommendations" if summary.rows.get("recommendations") else "item_sentiments"
    yield ""
    yield "Next:"
    yield "  batch-predictions report                   a page: for whom, how good, what it costs"
    yield "  batch-predictions models metrics           metrics of models and baselines"
    yield "  batch-predictions ui                       the asset graph, schedules and plots"
    if summary.release_id:
        yield "  batch-predictions serve                    lookups over HTTP, and an explorer:"
        yield "                                             http://127.0.0.1:8080/explorer"
    bucket = bucket_of(settings.home)
    if bucket is None:
        yield f"  duckdb -readonly {settings.home}/warehouse.duckdb \\"
        yield f'      "from predictions.{table} limit 20"'
    else:
        place = f"{bucket.url}/warehouse/predictions/{table}"
        yield f"""  python -c "import polars; print(polars.read_delta('{place}'))\""""
    yield "  batch-predictions init                     settings for tables of your own"
