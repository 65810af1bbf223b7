"""Describes what a home's tables leave out, for the summary of a run.

Rows of the source that were refused or filtered, values that could not be read, types of events
that nothing reads, keys without a prediction, and a source that has ended.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from batch_predictions.models.model_store import ModelError
from batch_predictions.operations.kept_queries import kept_queries
from batch_predictions.settings import Settings
from batch_predictions.sources.base import INGESTED_TABLES, Source
from batch_predictions.sources.posted_rows.feedback import FeedbackSource
from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.sources.shrinkage import read_kept_rows
from batch_predictions.sources.source_registry import current_date, event_types
from batch_predictions.sources.validation.event_types import EventTypes
from batch_predictions.sources.validation.left_out_rows import general_reason_sql
from batch_predictions.tables import EXCLUSIONS, INTERACTIONS, QUARANTINE, TABLES, Table
from batch_predictions.tables.partitions import latest_ended_week
from batch_predictions.warehouse import Warehouse

MAX_REASONS = 2
MAX_DAYS_SINCE = 2
"""A source whose newest day is older than this is said to have ended."""
MAX_DAYS_AHEAD = 366
"""Rows of days further ahead are said to be misdated."""
_REASON = general_reason_sql("reason")


def describe_left_out(
    warehouse: Warehouse, settings: Settings, source: Source, last: dt.date
) -> list[str]:
    """Lines about everything that is left out as of a day.

    Args:
        warehouse: of the home.
        settings: of the home.
        source: of the raw tables.
        last: the last predicted day.
    """
    types = event_types(settings)
    return [
        *_old_source(source, last),
        *read_kept_rows(Path(warehouse.home)).notes,
        *_removed_queries(settings, current_date("UTC")),
        *_rows(warehouse),
        *_later_rows(source, last),
        *_feedback(source, last),
        *_event_types(warehouse, types, last),
        *_keys(warehouse, last),
    ]


def _old_source(source: Source, last: dt.date) -> Iterator[str]:
    """Yields a line if the source has had no newer day for a long time."""
    days = (current_date(source.timezone) - last).days - 1
    if days > MAX_DAYS_SINCE and source.newest_complete_day(current_date(source.timezone)) <= last:
        yield f"the source ends on {last}: no newer day in the {days:,} days since then"


def _removed_queries(settings: Settings, today: dt.date) -> Iterator[str]:
    """Yields a line for each predictive query that is kept, though nobody declares it."""
    try:
        kept = kept_queries(settings, today)
    except ModelError:
        return  # `doctor` names the file.
    for name, until in kept.items():
        yield (
            f"{name} is not declared any more: its predictions and models stay until {until} "
            "(retention.removed_query_days; with 0, `batch-predictions prune` removes them now), "
            "and a prediction of this name goes on with them"
        )


def _rows(warehouse: Warehouse) -> Iterator[str]:
    """Yields lines about rows that were refused or filtered and values that were not read."""
    for table in INGESTED_TABLES:
        entries = list(read_ingest_log(Path(warehouse.home), table).days.values())
        if not table.partition:
            entries = entries[-1:]
        read = sum(entry.read for entry in entries)
        refused = sum(entry.quarantined for entry in entries)
        filtered = sum(entry.filtered for entry in entries)
        repeats = sum(entry.deduplicated for entry in entries)
        merged = sum(entry.merged for entry in entries)
        nulled: Counter[str] = Counter()
        for entry in entries:
            nulled.update(entry.nulled)
        if refused:
            reasons = _reasons(warehouse, table)
            yield f"{refused:,} of {read:,} rows of {table.name} were refused: {reasons}"
        if filtered:
            yield f"{filtered:,} rows of {table.name} do not meet source.where.{table.name}"
        if repeats:
            yield f"{repeats:,} rows of {table.name} repeat others (source.deduplicate)"
        if merged:
            yield f"{merged:,} rows of {table.name} are of merged users that have another row"
        for column, count in nulled.most_common():
            yield f"{count:,} values of {table.name}.{column} could not be read and are empty"


def _later_rows(source: Source, last: dt.date) -> Iterator[str]:
    """Yields lines about rows of days after the last predicted one, which no partition has yet."""
    for table in source.tables():
        later = source.later_rows(table, last) if table.partition == "date" else None
        if later is None:
            continue
        days = str(later.first) if later.first == later.last else f"{later.first} to {later.last}"
        line = f"{later.rows:,} rows of {table.name} are of later days ({days})"
        if (later.last - last).days > MAX_DAYS_AHEAD:
            line += f": correct those that cannot be of {later.last.year}"
        yield line


def _feedback(source: Source, last: dt.date) -> Iterator[str]:
    """Yields lines about posted events that no partition has, being too early or too late."""
    if source.posted is None:
        return
    feedback = FeedbackSource.of(source)
    early = feedback.rows_before(source.state.first_day)
    if early:
        yield f"{early:,} posted events are of days before {source.state.first_day}, the first day"
    yield from _later_rows(feedback, last)


def _reasons(warehouse: Warehouse, table: Table) -> str:
    """Names the most frequent reasons of refused rows, without their values."""
    rows = warehouse.query(
        f"""select {_REASON} as reason, count(*) as n
        from {QUARANTINE.qualified} where table_name = $name group by 1 order by n desc, 1""",
        {"name": table.name},
    ).to_pylist()
    shown = [f"{row['reason'].split(':')[0]} ({row['n']:,})" for row in rows[:MAX_REASONS]]
    return "; ".join(shown) + (" …" if len(rows) > MAX_REASONS else "")


def _event_types(warehouse: Warehouse, types: EventTypes, last: dt.date) -> Iterator[str]:
    """Yields lines about types of interactions that recommendations and demand do not read."""
    rows = warehouse.query(
        f"""select event_type, count(*) as n from {INTERACTIONS.qualified}
        where date <= $date and not list_contains($known::VARCHAR[], event_type)
        group by 1 order by n desc, 1""",
        {"date": last, "known": list(types.types)},
    ).to_pylist()
    if rows:
        listed = ", ".join(f"{row['event_type']} ({row['n']:,})" for row in rows)
        yield f"interactions of types that source.events does not name: {listed}"


def _keys(warehouse: Warehouse, last: dt.date) -> Iterator[str]:
    """Yields lines about keys without a prediction, by table and reason."""
    week = latest_ended_week(last)
    rows = warehouse.query(
        f"""select table_name, {_REASON} as reason, count(*) as n, date
        from {EXCLUSIONS.qualified} where date in ($day::DATE, $week::DATE)
        group by all order by table_name, n desc, reason""",
        {"day": last, "week": week},
    ).to_pylist()
    for table in TABLES.values():
        if table.schema != "predictions" or not table.partition or table.parts:
            continue
        date = last if table.partition == "date" else week
        of_table = [r for r in rows if r["table_name"] == table.name and r["date"] == date]
        if not of_table:
            continue
        scored = _scored_keys(warehouse, table, date)
        excluded = sum(row["n"] for row in of_table)
        shown = [f"{row['reason']} ({row['n']:,})" for row in of_table[:MAX_REASONS]]
        more = " …" if len(of_table) > MAX_REASONS else ""
        yield f"{excluded:,} of {excluded + scored:,} {table.name}: {'; '.join(shown)}{more}"


def _scored_keys(warehouse: Warehouse, table: Table, partition: dt.date) -> int:
    """Counts distinct keys with a prediction: users of recommendations, items of forecasts."""
    names = {column.name for column in table.columns}
    key = next((name for name in ("user_id", "review_id", "item_id") if name in names), None)
    return int(
        warehouse.value(
            f"select count({f'distinct {key}' if key else '*'}) from {table.qualified} "
            f"where {table.partition} = $partition",
            {"partition": partition},
        )
    )
