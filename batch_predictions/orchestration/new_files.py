"""The sensor `new_files`: it begins a night for days that arrive after the schedule's tick.

The days of the source are those that were over at the newest tick: a day that ends is left to the
tick, and what comes later, late or corrected, is asked for when it is there.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence

import dagster as dg
from pydantic import BaseModel, ValidationError

from batch_predictions.core.home import HomeError
from batch_predictions.core.home_lock import command_with_home
from batch_predictions.orchestration.jobs import INGEST
from batch_predictions.orchestration.nights import Night, describe_requests, describe_unfinished
from batch_predictions.orchestration.planner import Planner
from batch_predictions.orchestration.schedules import last_tick
from batch_predictions.planning.run_plan import NoWeekEndedError
from batch_predictions.settings import Settings
from batch_predictions.sources.base import RAW_TABLES
from batch_predictions.sources.due_partitions import days_to_ingest, planned_aliases
from batch_predictions.sources.source_registry import current_time
from batch_predictions.tables import Table

NAME = "new_files"
Due = Mapping[Table, Sequence[str]]
"""Days by daily raw table."""


class Cursor(BaseModel):
    """The state that the sensor keeps between its ticks.

    Attributes:
        seen: a hash of what was due at the tick before; empty: nothing.
        asked: of what was asked for last.
        count: how often something was asked for.
    """

    seen: str = ""
    asked: str = ""
    count: int = 0

    @classmethod
    def of(cls, text: str | None) -> Cursor:
        """Parses a cursor from its JSON text; a new one if the text cannot be read."""
        try:
            return cls.model_validate_json(text or "{}")
        except ValidationError:
            return cls()


def new_files(settings: Settings) -> dg.SensorDefinition:
    """Builds the sensor, which looks every `schedules.poll_minutes` minutes; 0 leaves it off."""
    minutes = settings.schedules.poll_minutes

    @dg.sensor(
        name=NAME,
        description="Begins a night where days of the source have arrived, or have changed, since "
        "the tick of the schedule, once they were the same at two looks.",
        job_name=INGEST.name,
        minimum_interval_seconds=round(60 * (minutes or 5)),
        default_status=dg.DefaultSensorStatus.RUNNING
        if minutes
        else dg.DefaultSensorStatus.STOPPED,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        busy = command_with_home(settings.home) or describe_unfinished(context.instance, [INGEST])
        if busy:
            return dg.SkipReason(f"it looks again when this is over: {busy}")
        assert context.repository_def is not None
        planner = Planner(settings, context.instance, context.repository_def.asset_graph)
        if not _has_begun(planner):
            return dg.SkipReason(
                "nothing was ever ingested: the first night is that of the schedule, or of "
                "`batch-predictions run`"
            )
        try:
            now = current_time(planner.state.timezone)
            day = planner.newest_day(last_tick(settings, planner.state, now).date())
        except (HomeError, NoWeekEndedError) as error:
            return dg.SkipReason(str(error))
        answer = _look(planner, day, Cursor.of(context.cursor))
        context.log.info(answer.skip_reason or describe_requests(answer.run_requests or []))
        return answer

    return sensor


def _has_begun(planner: Planner) -> bool:
    return any(planner.warehouse.partitions(table) for table in _daily_tables(planner))


def _daily_tables(planner: Planner) -> list[Table]:
    """Tables whose new days begin a night; snapshots, such as users, are read with these."""
    tables = planner.source.tables()
    return [table for table in RAW_TABLES if table in tables and table.partition == "date"]


def _look(planner: Planner, day: dt.date, cursor: Cursor) -> dg.SensorResult:
    """Compares the source's days with those that were ingested."""
    aliases = planned_aliases(planner.warehouse, planner.source, day)
    days_by_table = {
        table: _due_days(planner, table, day, aliases) for table in _daily_tables(planner)
    }
    due = {table: days for table, days in days_by_table.items() if days}
    if not due:
        return _skip("nothing new", Cursor(count=cursor.count))
    what, digest = describe_due(planner, due), _digest(planner, due)
    if digest == cursor.asked:
        return _skip(
            f"{what}: it was asked for, and is still due; the next tick of the schedule tries "
            "again",
            cursor,
        )
    if digest != cursor.seen:
        changed = cursor.model_copy(update={"seen": digest})
        return _skip(f"{what}: asked for at the next look, if nothing else comes", changed)
    night = Night(day.isoformat(), f"{day} {NAME} {cursor.count + 1} {digest}")
    runs = planner.due(INGEST, planner.plan(day, day))
    requests = [night.request(INGEST, run, night.id) for run in runs]
    after = Cursor(seen=digest, asked=digest, count=cursor.count + 1)
    return dg.SensorResult(run_requests=requests, cursor=after.model_dump_json())


def _due_days(
    planner: Planner, table: Table, day: dt.date, aliases: Mapping[str, str]
) -> list[str]:
    first = planner.state.first_day
    return days_to_ingest(planner.warehouse, planner.source, table, first, day, aliases)


def describe_due(planner: Planner, due: Due) -> str:
    """The days that are due, and why: new, or late or corrected."""
    return "; ".join(_describe_table(planner, table, days) for table, days in due.items())


def _describe_table(planner: Planner, table: Table, days: Sequence[str]) -> str:
    existing = {*planner.warehouse.partitions(table)}
    kinds = {
        "new": [key for key in days if key not in existing],
        "late or corrected": [key for key in days if key in existing],
    }
    return f"{table.qualified}: " + ", ".join(
        f"{name} {_span(keys)}" for name, keys in kinds.items() if keys
    )


def _span(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} to {keys[-1]} ({len(keys)})"


def _digest(planner: Planner, due: Due) -> str:
    """A hash of the days and of their state in the source."""
    hashed = [
        [table.name, sorted(planner.source.day_fingerprints(table, days).items())]
        for table, days in due.items()
    ]
    return hashlib.sha256(json.dumps(hashed).encode()).hexdigest()[:16]


def _skip(reason: str, cursor: Cursor) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=cursor.model_dump_json())
