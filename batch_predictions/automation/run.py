"""The main job without the UI: ingest what is missing, train what is due, predict, release.

It chains the jobs that the schedules start, one per partitioning, in one process, and records
them in the home's Dagster instance.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

import dagster as dg

from batch_predictions.automation import instance as home_instance
from batch_predictions.automation import jobs
from batch_predictions.automation.job_runner import JobRunner
from batch_predictions.automation.planning import days_due, raw_due, training_due, weeks_ahead_due
from batch_predictions.automation.progress import bar
from batch_predictions.automation.stale import corrected, stale, times
from batch_predictions.home import read_state
from batch_predictions.model_store import ModelStore
from batch_predictions.models.training import trainings
from batch_predictions.partitions import days_between, latest_ended_week, trained_through, week_of
from batch_predictions.settings import Settings
from batch_predictions.sources.registry import source_of
from batch_predictions.tables import INTERACTIONS, REVIEWS, TABLES
from batch_predictions.warehouse import Warehouse, as_date

EVENTS = (INTERACTIONS.name, REVIEWS.name)


@dataclass
class Summary:
    """What a run did."""

    home: str
    first_day: str
    last_day: str
    ingested: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    stale: dict[str, list[str]] = field(default_factory=dict)
    trained: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    release_id: str | None = None
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def run(
    settings: Settings,
    definitions: dg.Definitions,
    first: dt.date | None = None,
    last: dt.date | None = None,
    days: int | None = None,
) -> Summary:
    """Runs the chain for the days from first to last.

    Args:
        definitions: the platform's, of `batch_predictions.definitions`.
        first: first day to predict; None: the last one alone.
        last: last day to predict; None: the newest complete day of the source.
        days: where first is None: how many days to predict, as far as they can be.

    Raises:
        SourceError: the source cannot be read, or has no such day.
        RunError: a step failed.
    """
    began = time.perf_counter()
    state = read_state(settings.home)
    assert state is not None, "definitions begin the home"
    home_instance.prepare(settings)
    source = source_of(settings.source, state)
    first, last = days_due(source, state, first, last)
    if days:
        earliest = max(state.first_day, trained_through(week_of(state.first_day)))
        first = max(last - dt.timedelta(days=days - 1), min(earliest, last))
    warehouse, models = Warehouse.of(settings), ModelStore.of(settings)
    summary = Summary(str(settings.home), first.isoformat(), last.isoformat())

    days_of_rows = raw_due(warehouse, source, state, first, last)
    weeks = sorted({latest_ended_week(as_date(day)) for day in days_between(first, last)})
    weeks_ahead = weeks_ahead_due(warehouse, source, state, weeks[0], last, settings)
    lacking = [table for table in (INTERACTIONS, REVIEWS) if table not in source.tables()]
    chain = JobRunner(dg.DagsterInstance.get(), definitions, lacking)
    summary.skipped = chain.skipped()
    fed_trainings = {
        name: training
        for name, training in trainings().items()
        if not {*training.tables} & {*lacking}
    }
    total = chain.weight(jobs.INGEST) * bool(days_of_rows) + chain.weight(
        jobs.NIGHTLY, jobs.PREDICT
    )
    total += chain.weight(jobs.INGEST_WEEKLY) * bool(weeks_ahead)
    total += len(weeks) * (
        chain.weight(jobs.WEEKLY_TRAINING) + chain.weight(jobs.WEEKLY_PREDICTIONS)
    )
    with bar(total) as shown:
        for run_id in home_instance.fail_dead_runs(chain.instance):
            shown.log(f"run {run_id} of a process that died was marked as failed")
        before = times(warehouse)
        if days_of_rows:
            chain.execute(jobs.INGEST, days_of_rows, shown)
        if weeks_ahead:
            chain.execute(jobs.INGEST_WEEKLY, weeks_ahead, shown)
        after = times(warehouse)
        changed = {key for key, when in after.items() if when != before.get(key)}
        of_events = {(table, day) for table, day in changed if table in EVENTS}
        summary.ingested = sorted({day for _, day in of_events})
        summary.corrected = sorted({key[1] for key in of_events if key in before})
        untrained = training_due(weeks, fed_trainings, warehouse, models, settings)
        trained_already = len(weeks) - len(untrained)
        shown.progress.advance(shown.task, chain.weight(jobs.WEEKLY_TRAINING) * trained_already)
        for week in untrained:
            chain.execute(jobs.WEEKLY_TRAINING, [week.isoformat()], shown)
            summary.trained += _decisions(models, trained_through(week))
        chain.execute(jobs.WEEKLY_PREDICTIONS, [week.isoformat() for week in weeks], shown)
        chain.execute(jobs.NIGHTLY, days_between(first, last), shown, jobs.PREDICT)
        summary.rows = _rows(warehouse, last, {key.path[-1] for key in chain.unfed})
        summary.release_id = _current(settings)
        shown.progress.update(shown.task, completed=total, description="done")
    oldest = corrected(before, after)
    summary.stale = stale(chain.graph, warehouse, models, oldest, first, last, settings)
    summary.seconds = time.perf_counter() - began
    return summary


def _decisions(models: ModelStore, through: dt.date) -> list[dict[str, Any]]:
    made = [models.training(name, through) for name in trainings()]
    return [each.model_dump(mode="json") for each in made if each]


def _rows(warehouse: Warehouse, day: dt.date, unfed: Collection[str]) -> dict[str, int]:
    """Rows of every prediction as of a day, those that the source does not feed left out."""
    counts = {}
    for table in TABLES.values():
        if table.name in unfed:
            continue
        if table.schema == "predictions" and table.partition and not table.parts:
            key = day if table.partition == "date" else latest_ended_week(day)
            counts[table.name] = int(
                warehouse.value(
                    f"select count(*) from {table.qualified} where {table.partition} = $key",
                    {"key": key},
                )
            )
    return counts


def _current(settings: Settings) -> str | None:
    from batch_predictions.serving.release.pointer import read_pointer
    from batch_predictions.serving.store.schema import Store

    store = Store.of(settings)
    try:
        with store.read() as db:
            pointer = read_pointer(db)
    finally:
        store.close()
    return pointer.release_id if pointer else None
