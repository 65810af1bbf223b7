"""Plans a run and gives the reason for each step, without executing it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import dagster as dg

from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import Training
from batch_predictions.orchestration import jobs
from batch_predictions.orchestration.prepared_run import (
    PreparedRun,
    are_weeks_predicted,
    possible_trainings,
    prepare_run,
)
from batch_predictions.planning.run_plan import RunPlan, training_due
from batch_predictions.planning.unchanged import find_unchanged_run
from batch_predictions.settings import Settings
from batch_predictions.tables.partitions import days_between, trained_through
from batch_predictions.warehouse import Warehouse


@dataclass(frozen=True)
class PlannedStep:
    """A part of a run.

    Attributes:
        step: ingest, train, predict or release.
        name: a table or a model.
        partitions: days, or Mondays of weeks, oldest first.
        reason: why it is due.
    """

    step: str
    name: str
    partitions: list[str]
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Returns the step as a dictionary of JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        first, last = self.partitions[0], self.partitions[-1]
        span = first if first == last else f"{first} to {last} ({len(self.partitions)})"
        return f"{self.step:<9}{self.name}, {span}: {self.reason}"


def plan_steps(
    settings: Settings,
    definitions: dg.Definitions,
    first: dt.date | None = None,
    last: dt.date | None = None,
    *,
    only: Sequence[str] = (),
    force: bool = False,
) -> list[PlannedStep]:
    """Plans the steps of a run with these arguments; empty where nothing is new.

    Args:
        settings: of the home, which is initialised.
        definitions: the platform's definitions.
        first: first day to predict; None: as in `run.run`.
        last: last day to predict; None: as in `run.run`.
        only: names of the tables and models to make; empty: all.
        force: plan a run also where nothing has changed since the last one.

    Raises:
        SettingsError: `only` names no table and no model.
        SourceError: the source cannot be read, or has no such day.
    """
    if not (force or only) and find_unchanged_run(settings, first, last) is not None:
        return []
    prepared = prepare_run(settings, definitions, first, last, None, only)
    return [
        *_ingests(prepared.plan),
        *_trainings(prepared, settings),
        *_predictions(prepared, settings, force=force),
    ]


def _ingests(plan: RunPlan) -> Iterator[PlannedStep]:
    for name, days in plan.days_by_table.items():
        yield PlannedStep("ingest", f"raw.{name}", days, "missing, or changed in the source")
    due = {day for days in plan.days_by_table.values() for day in days}
    if damaged := sorted({*plan.raw_days} - due):
        yield PlannedStep("ingest", "raw", damaged, "their files were damaged")
    if plan.weeks_ahead:
        reason = "known ahead, and missing or changed"
        yield PlannedStep("ingest", "raw tables of weeks", plan.weeks_ahead, reason)


def _trainings(prepared: PreparedRun, settings: Settings) -> Iterator[PlannedStep]:
    """Yields the trainings that are due now, or will be once the plan's days are ingested."""
    plan, models, warehouse = prepared.plan, ModelStore.of(settings), Warehouse.of(settings)
    trainings = possible_trainings(prepared.runner, prepared.only)
    due = training_due(plan.weeks, trainings, warehouse, models, settings)
    for week in plan.weeks:
        for name, training in trainings.items():
            reason = due.get(week, {}).get(name)
            # Rows that change make no training due that `training.every_weeks` leaves out.
            if reason is None and models.training(name, trained_through(week)) is not None:
                reason = _changes(plan, week, training, settings)
            if reason:
                yield PlannedStep("train", name, [week.isoformat()], reason)


def _changes(plan: RunPlan, week: dt.date, training: Training, settings: Settings) -> str | None:
    """Says why a training will be due after the ingest; None if it will not be."""
    through = trained_through(week)
    first = through - dt.timedelta(days=training.history_days(settings) - 1)
    for table in training.tables:
        days = plan.days_by_table.get(table.name, ())
        count = sum(str(first) <= day <= str(through) for day in days)
        if count:
            return f"{count} days of {table.qualified} up to {through} are to be ingested"
    return None


def _predictions(
    prepared: PreparedRun, settings: Settings, *, force: bool
) -> Iterator[PlannedStep]:
    plan, runner, selected = prepared.plan, prepared.runner, prepared.only

    def tables(job: jobs.JobSpec) -> Iterator[str]:
        for key in runner.keys(job, ["predictions"]):
            if key.path[0] == "predictions" and (selected is None or key in selected):
                yield ".".join(key.path)

    weeks = [week.isoformat() for week in plan.weeks]
    warehouse = Warehouse.of(settings)
    is_ingesting = bool(plan.raw_days or plan.weeks_ahead)
    if (
        force
        or is_ingesting
        or not are_weeks_predicted(runner, runner.instance, settings, plan, warehouse)
    ):
        reason = "not predicted from these rows, models and settings yet"
        for name in tables(jobs.WEEKLY_PREDICTIONS):
            yield PlannedStep("predict", name, weeks, reason)
    days = days_between(plan.first, plan.last)
    for name in tables(jobs.NIGHTLY):
        yield PlannedStep("predict", name, days, "of the days to predict")
    yield PlannedStep("release", "serving", days, "if its rows differ from what is served")
