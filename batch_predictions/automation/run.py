"""`batch-predictions run`: ingest what is missing, train what is due, predict, release.

Executes the jobs that the schedules start, one after the other in one process, and records them in
the home's Dagster instance.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import dagster as dg

from batch_predictions.automation import instance as home_instance
from batch_predictions.automation import jobs
from batch_predictions.automation.dead_runs import fail_dead_runs
from batch_predictions.automation.job_runner import JobRunner
from batch_predictions.automation.left_out import describe_left_out
from batch_predictions.automation.planning import RunPlan, plan_run, training_due
from batch_predictions.automation.progress import ProgressBar, show_progress
from batch_predictions.automation.remake import make_again, near_partitions
from batch_predictions.automation.repair import finish_repair
from batch_predictions.automation.retention import prune
from batch_predictions.automation.stale import find_stale, oldest_corrections, partition_times
from batch_predictions.automation.unchanged import (
    are_weeks_unchanged,
    digest_of_run,
    record_run,
    record_weeks,
    served_release,
)
from batch_predictions.home import read_state
from batch_predictions.model_store import ModelStore
from batch_predictions.models.training import Training, trainings
from batch_predictions.partitions import days_between, latest_ended_week, trained_through
from batch_predictions.settings import Settings, SettingsError
from batch_predictions.sources.item_exclusions import unknown_exclusions_message
from batch_predictions.sources.registry import source_of
from batch_predictions.tables import INTERACTIONS, ITEMS, REVIEWS, TABLES, Table
from batch_predictions.warehouse import Warehouse

EVENT_TABLES = (INTERACTIONS.name, REVIEWS.name)


@dataclass
class Summary:
    """What a run did.

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
        left_out: rows, values, events and keys that are left out, in words.
        release_id: of the release that is served; None: none.
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
    left_out: list[str] = field(default_factory=list)
    release_id: str | None = None
    unchanged: bool = False
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
    *,
    force: bool = False,
    end_stuck_runs: bool = False,
) -> Summary:
    """Runs the platform for the days from first to last.

    Args:
        settings: of the home.
        definitions: the platform's, of `batch_predictions.definitions`.
        first: first day to predict; None: the last one only.
        last: last day to predict; None: the newest complete day of the source.
        days: without `first`: how many days to predict, as far as they can be.
        force: whether weekly tables are predicted again even if nothing that they read is new.
        end_stuck_runs: mark unfinished runs of the UI that no process is known of as failed before.

    Raises:
        SourceError: the source cannot be read, or has no such day.
        RunError: a step failed.
    """
    start = time.perf_counter()
    state = read_state(settings.home)
    assert state is not None, "loading the definitions initialises the home"
    home_instance.prepare(settings)
    source = source_of(settings, state)
    warehouse, models = Warehouse.of(settings), ModelStore.of(settings)
    plan = plan_run(settings, source, state, warehouse, first, last, days)
    missing = [table for table in (INTERACTIONS, REVIEWS) if table not in source.tables()]
    runner = JobRunner(dg.DagsterInstance.get(), definitions, missing, settings)
    summary = Summary(str(settings.home), str(plan.first), str(plan.last))
    summary.skipped = runner.describe_skipped()
    with show_progress(_total_weight(runner, plan)) as progress:
        for run_id in fail_dead_runs(
            runner.instance, settings.home, is_alone=True, untracked=end_stuck_runs
        ):
            progress.log(f"run {run_id} of a process that died was marked as failed")
        times_before = partition_times(warehouse)
        _ingest(runner, plan, progress)
        _validate_exclusions(settings, warehouse)
        times_after = partition_times(warehouse)
        summary.repaired, not_made = make_again(runner, plan, progress, settings)
        _train(runner, plan, progress, warehouse, models, settings, missing, summary)
        _predict(runner, plan, progress, settings, warehouse, force=force)
        finish_repair(settings, not_made)
        _prune(settings, runner.instance, progress)
        progress.finish()
    _record_ingested(summary, times_before, times_after)
    corrections = oldest_corrections(times_before, times_after)
    _record_stale(summary, runner, plan, corrections, settings)
    _record_results(summary, runner, plan, settings, warehouse)
    summary.left_out = describe_left_out(warehouse, settings, source, plan.last)
    summary.seconds = time.perf_counter() - start
    # The plan without its days to ingest, which have been ingested.
    record_run(settings, digest_of_run(settings, plan, warehouse), summary.as_dict())
    return summary


def _total_weight(runner: JobRunner, plan: RunPlan) -> float:
    """Weight of all steps of a run, for the progress bar."""
    weekly = runner.weight(jobs.WEEKLY_TRAINING) + runner.weight(jobs.WEEKLY_PREDICTIONS)
    total = runner.weight(jobs.NIGHTLY, jobs.AFTER_INGEST) + len(plan.weeks) * weekly
    if plan.raw_days:
        total += runner.weight(jobs.INGEST)
    if plan.weeks_ahead:
        total += runner.weight(jobs.INGEST_WEEKLY)
    return total


def _are_weeks_predicted(
    runner: JobRunner, settings: Settings, plan: RunPlan, warehouse: Warehouse
) -> bool:
    """Whether Dagster shows the weekly tables as materialized and nothing they read is new."""
    weeks = {week.isoformat() for week in plan.weeks}
    return are_weeks_unchanged(settings, plan, warehouse) and all(
        weeks <= runner.instance.get_materialized_partitions(key)
        for key in runner.keys(jobs.WEEKLY_PREDICTIONS)
    )


def _prune(settings: Settings, instance: dg.DagsterInstance, progress: ProgressBar) -> None:
    """Removes what the settings `retention` do not keep. A failure is logged: the run is done."""
    try:
        removed = prune(settings, instance)
    except Exception as error:
        progress.log(f"old runs and models were not removed: {type(error).__name__}: {error}")
        return
    if removed.runs or removed.model_versions:
        progress.log(
            f"removed {removed.runs} Dagster runs older than {settings.retention.run_days} days "
            f"and {len(removed.model_versions)} models that never served"
        )


def _ingest(runner: JobRunner, plan: RunPlan, progress: ProgressBar) -> None:
    for keys in near_partitions(plan.raw_days):
        runner.execute(jobs.INGEST, keys, progress)
    for keys in near_partitions(plan.weeks_ahead):
        runner.execute(jobs.INGEST_WEEKLY, keys, progress)


def _validate_exclusions(settings: Settings, warehouse: Warehouse) -> None:
    """Raises SettingsError if `source.exclude_items` names nothing that items have."""
    if not settings.source.exclude_items or not warehouse.path(ITEMS).exists():
        return
    attributes = warehouse.query(
        "select distinct unnest(map_keys(attributes)) as name from raw.items"
    )["name"].to_pylist()
    message = unknown_exclusions_message(settings.source.exclude_items, attributes)
    if message:
        raise SettingsError(message)


def _record_ingested(
    summary: Summary,
    before: Mapping[tuple[str, str], int],
    after: Mapping[tuple[str, str], int],
) -> None:
    """Fills in the days of events that are new or have changed."""
    changed = {
        key for key, time_ in after.items() if time_ != before.get(key) and key[0] in EVENT_TABLES
    }
    summary.ingested = sorted({day for _, day in changed})
    summary.corrected = sorted({day for table, day in changed if (table, day) in before})


def _train(
    runner: JobRunner,
    plan: RunPlan,
    progress: ProgressBar,
    warehouse: Warehouse,
    models: ModelStore,
    settings: Settings,
    missing: Collection[Table],
    summary: Summary,
) -> None:
    """Trains the weeks that are due, and records the decisions."""
    possible: dict[str, Training] = {
        name: training
        for name, training in trainings().items()
        if not {*training.tables} & {*missing}
    }
    due = training_due(plan.weeks, possible, warehouse, models, settings)
    progress.advance(runner.weight(jobs.WEEKLY_TRAINING) * (len(plan.weeks) - len(due)))
    for week in due:
        runner.execute(jobs.WEEKLY_TRAINING, [week.isoformat()], progress)
        decisions = [models.training(name, trained_through(week)) for name in trainings()]
        summary.trained += [
            decision.model_dump(mode="json") for decision in decisions if decision is not None
        ]


def _predict(
    runner: JobRunner,
    plan: RunPlan,
    progress: ProgressBar,
    settings: Settings,
    warehouse: Warehouse,
    *,
    force: bool,
) -> None:
    """Predicts the plan's weeks, unless nothing that they read is new, and its days; releases."""
    if force or not _are_weeks_predicted(runner, settings, plan, warehouse):
        weeks = [week.isoformat() for week in plan.weeks]
        runner.execute(jobs.WEEKLY_PREDICTIONS, weeks, progress)
        record_weeks(settings, plan, warehouse)
    else:
        progress.advance(runner.weight(jobs.WEEKLY_PREDICTIONS) * len(plan.weeks))
    days = days_between(plan.first, plan.last)
    runner.execute(jobs.NIGHTLY, days, progress, jobs.AFTER_INGEST)


def _record_stale(
    summary: Summary,
    runner: JobRunner,
    plan: RunPlan,
    corrections: Mapping[str, dt.date],
    settings: Settings,
) -> None:
    """Fills in the partitions that were made from rows corrected since."""
    warehouse, models = Warehouse.of(settings), ModelStore.of(settings)
    summary.stale = find_stale(
        runner.graph, warehouse, models, corrections, plan.first, plan.last, settings
    )


def _record_results(
    summary: Summary, runner: JobRunner, plan: RunPlan, settings: Settings, warehouse: Warehouse
) -> None:
    """Fills in the rows of the last day, and the release."""
    skipped_tables = {key.path[-1] for key in runner.skipped_assets}
    summary.rows = _count_rows(warehouse, plan.last, skipped_tables)
    summary.release_id = served_release(settings)


def _count_rows(warehouse: Warehouse, day: dt.date, skipped: Collection[str]) -> dict[str, int]:
    """Rows of every prediction table as of a day, without the skipped ones."""
    counts = {}
    for table in TABLES.values():
        if table.name in skipped:
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
