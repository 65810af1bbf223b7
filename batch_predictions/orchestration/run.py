"""`batch-predictions run`: ingest what is missing, train what is due, predict, release.

Executes the jobs that the schedules start, one after the other in one process, and records them in
the home's Dagster instance. A fault stays where it is: where a training fails, the model that
served before goes on; where a prediction fails, the release has its rows of the newest earlier
day; the rest is made as usual.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

from batch_predictions.models.model_store import ModelStore
from batch_predictions.operations.left_out import describe_left_out
from batch_predictions.operations.retention.prune import prune_after_run
from batch_predictions.operations.run_summary import Summary, count_rows
from batch_predictions.orchestration import jobs
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.orchestration.dead_runs import fail_dead_runs
from batch_predictions.orchestration.failures import Failure
from batch_predictions.orchestration.job_runner import JobRunner, RunError
from batch_predictions.orchestration.prepared_run import (
    are_weeks_predicted,
    model_key,
    possible_trainings,
    prepare_run,
)
from batch_predictions.orchestration.progress import ProgressBar, show_progress
from batch_predictions.orchestration.remake import make_again, near_partitions
from batch_predictions.orchestration.stale import find_stale, oldest_corrections, partition_times
from batch_predictions.planning.repair import finish_repair
from batch_predictions.planning.run_plan import RunPlan, training_due
from batch_predictions.planning.unchanged import (
    digest_of_run,
    record_run,
    record_weeks,
    served_release,
)
from batch_predictions.settings import Settings
from batch_predictions.sources.item_exclusions import validate_exclusions
from batch_predictions.tables.partitions import days_between, trained_through
from batch_predictions.warehouse import Warehouse


@dataclass(frozen=True)
class Run:
    """A run under way.

    Attributes:
        settings: of the home.
        plan: what it has to do.
        runner: executes the jobs.
        progress: the bar to move.
        only: the assets that it makes; None: all.
        summary: what it did so far.
        errors: of trainings that failed.
    """

    settings: Settings
    plan: RunPlan
    runner: JobRunner
    progress: ProgressBar
    only: Collection[dg.AssetKey] | None
    summary: Summary
    errors: list[RunError] = field(default_factory=list)

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse of this home."""
        return Warehouse.of(self.settings)

    def record_failures(self, failures: Sequence[Failure], goes_on: str) -> None:
        """Adds failed assets, and what is served instead, to the summary."""
        for failure in failures:
            if failure.asset.path[0] == "serving":
                continue
            self.summary.failed[failure.name] = f"{failure.reason}; {goes_on}"


def run(
    settings: Settings,
    definitions: dg.Definitions,
    first: dt.date | None = None,
    last: dt.date | None = None,
    days: int | None = None,
    *,
    only: Sequence[str] = (),
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
        only: names of the tables and models to make, with what they need; empty: all.
        force: whether weekly tables are predicted again even if nothing that they read is new.
        end_stuck_runs: mark unfinished runs of the UI that no process is known of as failed before.

    Raises:
        SettingsError: `only` names no table and no model.
        SourceError: the source cannot be read, or has no such day.
        RunError: an ingest failed, or no prediction of the days could be made.
    """
    start = time.perf_counter()
    prepared = prepare_run(settings, definitions, first, last, days, only)
    plan, runner, selected = prepared.plan, prepared.runner, prepared.only
    warehouse = Warehouse.of(settings)
    summary = Summary(str(settings.home), str(plan.first), str(plan.last))
    summary.skipped = runner.describe_skipped()
    with show_progress(_total_weight(runner, plan, selected)) as progress:
        for run_id in fail_dead_runs(
            runner.instance, settings.home, is_alone=True, untracked=end_stuck_runs
        ):
            progress.log(f"run {run_id} of a process that died was marked as failed")
        this = Run(settings, plan, runner, progress, selected, summary)
        corrections = _execute(this, force=force)
        progress.finish()
    _record_stale(this, corrections)
    skipped = {key.path[-1] for key in runner.skipped_assets}
    summary.rows = count_rows(warehouse, plan.last, skipped)
    summary.release_id = served_release(settings)
    summary.left_out = describe_left_out(warehouse, settings, prepared.source, plan.last)
    summary.seconds = time.perf_counter() - start
    if not (summary.failed or only):
        # The plan without its days to ingest, which have been ingested.
        record_run(settings, digest_of_run(settings, plan, warehouse), summary.as_dict())
    return summary


def _execute(this: Run, *, force: bool) -> Mapping[str, dt.date]:
    """Ingests, trains, predicts, releases and prunes; the oldest corrected day by table."""
    settings, plan, runner, progress = this.settings, this.plan, this.runner, this.progress
    before = partition_times(this.warehouse)
    _ingest(runner, plan, progress)
    validate_exclusions(settings, this.warehouse)
    after = partition_times(this.warehouse)
    this.summary.repaired, not_made = make_again(runner, plan, progress, settings)
    _train(this)
    _predict(this, force=force)
    finish_repair(settings, not_made)
    prune_after_run(settings, DagsterRecords(settings, runner.instance), progress.log)
    this.summary.add_ingested(before, after)
    return oldest_corrections(before, after)


def _total_weight(runner: JobRunner, plan: RunPlan, only: Collection[dg.AssetKey] | None) -> float:
    """Weight of all steps of a run, for the progress bar."""
    weekly = sum(
        runner.weight(job, only=only) for job in (jobs.WEEKLY_TRAINING, jobs.WEEKLY_PREDICTIONS)
    )
    total = runner.weight(jobs.NIGHTLY, jobs.AFTER_INGEST, only) + len(plan.weeks) * weekly
    if plan.raw_days:
        total += runner.weight(jobs.INGEST)
    if plan.weeks_ahead:
        total += runner.weight(jobs.INGEST_WEEKLY)
    return total


def _ingest(runner: JobRunner, plan: RunPlan, progress: ProgressBar) -> None:
    for keys in near_partitions(plan.raw_days):
        runner.execute(jobs.INGEST, keys, progress)
    for keys in near_partitions(plan.weeks_ahead):
        runner.execute(jobs.INGEST_WEEKLY, keys, progress)


def _train(this: Run) -> None:
    """Trains the models that are due, and records the decisions."""
    runner, plan, only = this.runner, this.plan, this.only
    models = ModelStore.of(this.settings)
    possible = possible_trainings(runner, only)
    due = training_due(plan.weeks, possible, this.warehouse, models, this.settings)
    unchanged = len(plan.weeks) * runner.weight(jobs.WEEKLY_TRAINING, only=only)
    for reasons in due.values():
        keys = [model_key(name) for name in reasons]
        unchanged -= runner.weight(jobs.WEEKLY_TRAINING, only=keys)
    this.progress.advance(unchanged)
    for week, reasons in due.items():
        keys = [model_key(name) for name in reasons]
        failures = runner.attempt(
            jobs.WEEKLY_TRAINING, [week.isoformat()], this.progress, only=keys
        )
        failed = {failure.asset.path[-1] for failure in failures}
        if failures:
            this.errors.append(runner.error(jobs.WEEKLY_TRAINING, [week.isoformat()], failures))
        for failure in failures:
            version = models.version_of(failure.asset.path[-1], trained_through(week))
            serving = f"{version} goes on serving" if version else "no version of it serves yet"
            this.record_failures([failure], serving)
        decisions = [models.training(name, trained_through(week)) for name in reasons]
        this.summary.trained += [
            decision.model_dump(mode="json")
            for decision in decisions
            if decision is not None and decision.model not in failed
        ]


def _predict(this: Run, *, force: bool) -> None:
    """Predicts the plan's weeks, unless nothing that they read is new, and its days; releases.

    Raises:
        RunError: no prediction of the days could be made, or no release.
    """
    runner, plan, progress, only = this.runner, this.plan, this.progress, this.only
    weekly, daily = jobs.WEEKLY_PREDICTIONS, jobs.NIGHTLY
    due: list[dg.AssetKey] = []
    failures: list[Failure] = []
    if force or not are_weeks_predicted(
        runner, runner.instance, this.settings, plan, this.warehouse
    ):
        due += runner.keys(weekly)
        weeks = [week.isoformat() for week in plan.weeks]
        failures = runner.attempt(weekly, weeks, progress, only=only)
        this.record_failures(failures, "the release has an earlier week, if there is one")
        if not failures and only is None:
            record_weeks(this.settings, plan, this.warehouse)
    else:
        progress.advance(runner.weight(weekly, only=only) * len(plan.weeks))
    due += runner.keys(daily, ["predictions"])
    days = days_between(plan.first, plan.last)
    release = runner.keys(daily, ["serving"])
    with_release = None if only is None else {*only, *release}
    of_days = runner.attempt(daily, days, progress, jobs.AFTER_INGEST, with_release)
    waiting = {
        failure.asset
        for failure in of_days
        if not failure.is_cause and failure.asset.path[0] in ("evaluation", "serving")
    }
    of_days = [failure for failure in of_days if failure.asset not in waiting]
    this.record_failures(of_days, "the release has an earlier day, if there is one")
    failures += of_days
    failed = {failure.asset for failure in failures}
    predictions = {
        key for key in due if key.path[0] == "predictions" and (only is None or key in only)
    }
    if predictions and predictions <= failed:
        raise next(iter(this.errors), runner.error(daily, days, failures))
    if waiting:
        # Metrics and the release need all predictions, and do with what there is of them.
        again = runner.attempt(daily, days, progress, jobs.AFTER_INGEST, waiting)
        if {failure.asset for failure in again} & {*release}:
            raise runner.error(daily, days, again)
        this.record_failures(again, "the rest goes on")


def _record_stale(this: Run, corrections: Mapping[str, dt.date]) -> None:
    """Adds partitions made from rows that were corrected since to the summary."""
    models, plan = ModelStore.of(this.settings), this.plan
    this.summary.stale = find_stale(
        this.runner.graph,
        this.warehouse,
        models,
        corrections,
        plan.first,
        plan.last,
        this.settings,
    )
