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

from batch_predictions.inference.scorer_code import edited_scorers, forget_results_of_edited
from batch_predictions.models.model_store import ModelStore
from batch_predictions.operations.left_out import describe_left_out
from batch_predictions.operations.run_summary import Summary, count_rows, sum_events
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.orchestration import jobs
from batch_predictions.orchestration.after_run import finish_run
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.orchestration.dead_runs import fail_dead_runs
from batch_predictions.orchestration.failures import Failure
from batch_predictions.orchestration.job_runner import JobRunner, RunError
from batch_predictions.orchestration.nights import PlannedRun
from batch_predictions.orchestration.planner import DAMAGED, Planner
from batch_predictions.orchestration.progress import ProgressBar, show_progress
from batch_predictions.orchestration.stale import find_stale, oldest_corrections, partition_times
from batch_predictions.planning.repair import finish_repair, read_repair
from batch_predictions.planning.run_plan import RunPlan
from batch_predictions.planning.unchanged import (
    digest_of_run,
    record_failures,
    record_run,
    record_weeks,
    served_release,
)
from batch_predictions.serving.release.served import describe_served
from batch_predictions.serving.sinks.sync import failed_sinks
from batch_predictions.settings import Settings
from batch_predictions.sources.item_exclusions import validate_exclusions
from batch_predictions.sources.recommendation_rules import validate_rules
from batch_predictions.sources.shrinkage import read_kept_rows
from batch_predictions.tables.partitions import days_between, trained_through
from batch_predictions.warehouse import Warehouse, as_date


@dataclass
class Run:
    """A run under way.

    Attributes:
        planner: finds what is due.
        plan: the days and weeks that it predicts.
        runner: executes the jobs.
        progress: the bar to move.
        summary: what it did so far.
        errors: of trainings that failed.
        not_repaired: partitions of damaged files that could not be made again.
        unfinished: why a step at the end failed, by its name.
    """

    planner: Planner
    plan: RunPlan
    runner: JobRunner
    progress: ProgressBar
    summary: Summary
    errors: list[RunError] = field(default_factory=list)
    not_repaired: list[str] = field(default_factory=list)
    unfinished: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The settings of this home."""
        return self.planner.settings

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse of this home."""
        return self.planner.warehouse

    def attempt(self, job: jobs.JobSpec, run: PlannedRun) -> list[Failure]:
        """Executes a planned run; what was not made."""
        return self.runner.attempt(job, run.partitions, self.progress, only=run.assets)

    def skip(self, job: jobs.JobSpec, groups: Sequence[str], runs: Sequence[PlannedRun]) -> None:
        """Moves the bar by what the plan might have made of a job and need not."""
        whole = self.runner.weight(job, groups, self.planner.only)
        partitions = len(self.plan.weeks) if job.is_weekly else 1
        made = sum(self.runner.weight(job, groups, run.assets) for run in runs)
        self.progress.advance(max(0.0, partitions * whole - made))

    def repair(self, job: jobs.JobSpec, run: PlannedRun) -> None:
        """Makes a partition of damaged files again, or records that it cannot be made."""
        [partition] = run.partitions
        names = ", ".join("/".join(key.path) for key in run.assets or ())
        failures = self.attempt(job, run)
        if failures:
            self.not_repaired.append(partition)
            reason = self.runner.error(job, run.partitions, failures)
            self.summary.failed[f"{names} of {partition}"] = f"could not be made again: {reason}"
        else:
            self.summary.repaired.append(f"{names} of {partition} made again")

    def record_failures(self, job: jobs.JobSpec, failures: Sequence[Failure], day: dt.date) -> None:
        """Adds failed assets, and what is served instead, to the summary.

        Args:
            job: the job.
            failures: what it did not make.
            day: last day of its partitions.
        """
        models = ModelStore.of(self.settings)
        for failure in failures:
            if failure.is_of_release:
                self.summary.not_released = failure.reason
            else:
                reason = failure.describe(models, day, is_weekly=job.is_weekly)
                self.summary.failed[failure.name] = reason


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
    home_instance.prepare(settings)
    instance = dg.DagsterInstance.get()
    planner = Planner(settings, instance, definitions.resolve_asset_graph(), only=only, force=force)
    served_before = served_release(settings)
    runner = JobRunner(instance, definitions, planner.assets.missing, settings)
    plan = planner.plan(first, last, days)
    summary = Summary(str(settings.home), str(plan.first), str(plan.last))
    summary.skipped = runner.describe_skipped()
    with show_progress(_total_weight(runner, plan, planner.only)) as progress:
        for run_id in fail_dead_runs(
            instance, settings.home, is_alone=True, untracked=end_stuck_runs
        ):
            progress.log(f"run {run_id} of a process that died was marked as failed")
        this = Run(planner, plan, runner, progress, summary)
        corrections = _execute(this)
        progress.finish()
    _describe_result(this, corrections, served_before)
    summary.seconds = time.perf_counter() - start
    _record(this, only=bool(only))
    summary.failed |= failed_sinks(settings, summary.release_id)
    return summary


def _describe_result(
    this: Run, corrections: Mapping[str, dt.date], served_before: str | None
) -> None:
    """Adds rows, what is left out and the release to the summary.

    Args:
        this: the run.
        corrections: the oldest corrected day by table.
        served_before: the release that served when the run began.
    """
    summary, settings, last = this.summary, this.settings, this.plan.last
    _record_stale(this, corrections)
    skipped = {key.path[-1] for key in this.runner.skipped_assets}
    skipped |= {name.rpartition("/")[2] for name in summary.failed}
    summary.rows = count_rows(this.warehouse, last, skipped)
    summary.left_out = describe_left_out(this.warehouse, settings, this.planner.source, last)
    summary.lost = list(read_kept_rows(settings.home).lost.values())
    summary.edited = list(edited_scorers(settings).values())
    summary.release_id = served_release(settings)
    if summary.not_released and summary.release_id != served_before:
        # Its step failed after the pointer had moved.
        summary.failed["serving/release"] = f"{summary.not_released}; {summary.release_id} serves"
        summary.not_released = None
    summary.served = describe_served(settings)


def _record(this: Run, *, only: bool) -> None:
    """Records what failed, or that there is nothing left to do.

    What failed at the end of the run is made again alone, so that it does not undo a night.
    """
    settings, summary = this.settings, this.summary
    failed = dict(summary.failed)
    if summary.not_released:
        failed["serving/release"] = f"{summary.not_released}. {summary.served}"
    if failed or this.unfinished or not only:
        record_failures(settings, summary.last_day, failed | this.unfinished)
    if not (failed or only):
        # The plan without its days to ingest, which have been ingested.
        digest = digest_of_run(settings, this.plan, this.warehouse)
        record_run(settings, digest, summary.as_dict())
    summary.failed |= this.unfinished


def _execute(this: Run) -> Mapping[str, dt.date]:
    """Ingests, trains, predicts, releases and prunes; the oldest corrected day by table."""
    settings, plan, runner, progress = this.settings, this.plan, this.runner, this.progress
    before = partition_times(this.warehouse)
    for job in (jobs.INGEST, jobs.INGEST_WEEKLY):
        for run in this.planner.due(job, plan):
            runner.execute(job, run.partitions, progress, only=run.assets)
    validate_exclusions(settings, this.warehouse)
    for warning in validate_rules(settings, this.warehouse):
        progress.log(warning)
    after = partition_times(this.warehouse)
    _begin_repair(this)
    _train(this)
    _predict(this)
    finish_repair(settings, this.not_repaired)
    records = DagsterRecords(settings, runner.instance)
    this.unfinished = finish_run(settings, records, progress.log, runner.steps)
    summary = this.summary
    summary.add_ingested(before, after)
    if summary.ingested:
        types = this.planner.source.event_types
        summary.sums = sum_events(this.warehouse, types, summary.ingested[0])
    return oldest_corrections(before, after)


def _begin_repair(this: Run) -> None:
    """Adds to the summary what is made again anyway: models, rows that are read, planned days."""
    this.summary.repaired += this.planner.begin_repair(this.plan)
    repair = read_repair(this.settings)
    planned = {*days_between(this.plan.first, this.plan.last), *map(str, this.plan.weeks)}
    for partition, paths in sorted(repair.assets.items()):
        if partition in planned:
            names = ", ".join("/".join(path) for path in sorted(paths))
            this.summary.repaired.append(f"{names} of {partition} made again")
    read_again = sorted({*repair.days, *repair.weeks_ahead})
    this.summary.repaired += [f"raw rows of {partition} read again" for partition in read_again]


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


def _train(this: Run) -> None:
    """Trains the models that are due, and records the decisions."""
    models = ModelStore.of(this.settings)
    runs = this.planner.due(jobs.WEEKLY_TRAINING, this.plan)
    this.skip(jobs.WEEKLY_TRAINING, (), runs)
    for run in runs:
        [week] = run.partitions
        through = trained_through(as_date(week))
        failures = this.attempt(jobs.WEEKLY_TRAINING, run)
        failed = {failure.asset.path[-1] for failure in failures}
        names = [key.path[-1] for key in run.assets or ()]
        if failures:
            this.errors.append(this.runner.error(jobs.WEEKLY_TRAINING, [week], failures))
            this.not_repaired.append(week)
        this.record_failures(jobs.WEEKLY_TRAINING, failures, through)
        if DAMAGED in run.why and not failures:
            trained = ", ".join(names)
            this.summary.repaired.append(f"{trained} trained again for the week {week}")
        decisions = [models.training(name, through) for name in names]
        this.summary.trained += [
            decision.model_dump(mode="json")
            for decision in decisions
            if decision is not None and decision.model not in failed
        ]


def _predict(this: Run) -> None:
    """Predicts the plan's weeks and days, unless nothing that they read is new; releases.

    Raises:
        RunError: no prediction of the days could be made.
    """
    if this.planner.force:
        forget_results_of_edited(this.settings)
    weekly = this.planner.due(jobs.WEEKLY_PREDICTIONS, this.plan)
    this.skip(jobs.WEEKLY_PREDICTIONS, (), weekly)
    failures: list[Failure] = []
    for run in weekly:
        if run.why == DAMAGED:
            this.repair(jobs.WEEKLY_PREDICTIONS, run)
            continue
        failures = this.attempt(jobs.WEEKLY_PREDICTIONS, run)
        this.record_failures(jobs.WEEKLY_PREDICTIONS, failures, this.plan.last)
        if not failures and this.planner.only is None:
            record_weeks(this.settings, this.plan, this.warehouse)
    daily = this.planner.due(jobs.NIGHTLY, this.plan)
    this.skip(jobs.NIGHTLY, jobs.AFTER_INGEST, daily)
    due = {key for run in weekly for key in run.assets or ()}
    for run in daily:
        if run.why == DAMAGED:
            this.repair(jobs.NIGHTLY, run)
        else:
            _predict_days(this, run, due, failures)


def _predict_days(
    this: Run, run: PlannedRun, weekly: Collection[dg.AssetKey], failures: Sequence[Failure]
) -> None:
    """Makes the plan's days and releases; metrics and the release do with what there is.

    Args:
        this: the run.
        run: the days and their assets.
        weekly: assets of the weeks that were due.
        failures: of these assets.

    Raises:
        RunError: no prediction could be made.
    """
    of_days = this.attempt(jobs.NIGHTLY, run)
    waiting = {failure.asset for failure in of_days if failure.waits}
    of_days = [failure for failure in of_days if failure.asset not in waiting]
    this.record_failures(jobs.NIGHTLY, of_days, this.plan.last)
    all_failures = [*failures, *of_days]
    due = {key for key in {*weekly, *(run.assets or ())} if key.path[0] == "predictions"}
    if due and due <= {failure.asset for failure in all_failures}:
        raise next(iter(this.errors), this.runner.error(jobs.NIGHTLY, run.partitions, all_failures))
    if waiting:
        # Metrics and the release need all predictions, and do with what there is of them.
        again = this.attempt(jobs.NIGHTLY, PlannedRun(run.partitions, sorted(waiting)))
        this.record_failures(jobs.NIGHTLY, again, this.plan.last)


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
