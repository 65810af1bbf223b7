"""Plans a run and gives the reason for each step, without executing it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import dagster as dg

from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import Training
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.orchestration import jobs
from batch_predictions.orchestration.planner import Planner
from batch_predictions.planning.run_plan import RunPlan
from batch_predictions.planning.unchanged import find_unchanged_run
from batch_predictions.settings import Settings
from batch_predictions.tables.partitions import days_between, trained_through


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

    def as_dict(self) -> dict[str, object]:
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
    home_instance.prepare(settings)
    graph = definitions.resolve_asset_graph()
    planner = Planner(settings, dg.DagsterInstance.get(), graph, only, force=force)
    plan = planner.plan(first, last)
    steps = [*_ingests(plan), *_trainings(planner, plan)]
    # With other rows or models than now, nothing that is predicted is as it was.
    planner.force = force or bool(steps)
    return [*steps, *_predictions(planner, plan)]


def _ingests(plan: RunPlan) -> Iterator[PlannedStep]:
    for name, days in plan.days_by_table.items():
        yield PlannedStep("ingest", f"raw.{name}", days, "missing, or changed in the source")
    due = {day for days in plan.days_by_table.values() for day in days}
    if damaged := sorted({*plan.raw_days} - due):
        yield PlannedStep("ingest", "raw", damaged, "their files were damaged")
    if plan.weeks_ahead:
        reason = "known ahead, and missing or changed"
        yield PlannedStep("ingest", "raw tables of weeks", plan.weeks_ahead, reason)


def _trainings(planner: Planner, plan: RunPlan) -> Iterator[PlannedStep]:
    """Yields the trainings that are due now, or will be once the plan's days are ingested."""
    models, due = ModelStore.of(planner.settings), planner.training_reasons(plan)
    for week in sorted({*plan.weeks, *due}):
        for name, training in planner.possible_trainings().items():
            reason = due.get(week, {}).get(name)
            # Rows that change make no training due that `training.every_weeks` leaves out.
            if reason is None and models.training(name, trained_through(week)) is not None:
                reason = _changes(plan, week, training, planner.settings)
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


def _predictions(planner: Planner, plan: RunPlan) -> Iterator[PlannedStep]:
    """Yields what is due now, or will be once the plan's days are ingested."""
    for job in (jobs.WEEKLY_PREDICTIONS, jobs.NIGHTLY):
        for run in planner.due(job, plan):
            reason = run.why or (
                "not predicted from these rows, models and settings yet"
                if job.is_weekly
                else "of the days to predict"
            )
            for key in run.assets or ():
                if key.path[0] == "predictions":
                    yield PlannedStep("predict", ".".join(key.path), run.partitions, reason)
    days = days_between(plan.first, plan.last)
    yield PlannedStep("release", "serving", days, "if its rows differ from what is served")
