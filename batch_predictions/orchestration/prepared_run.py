"""Prepares a run: its plan, its source, and the runner that executes it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import dagster as dg

from batch_predictions.core.home import read_state
from batch_predictions.models.training import Training, trainings
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.orchestration import jobs
from batch_predictions.orchestration.job_assets import JobAssets
from batch_predictions.orchestration.job_runner import JobRunner
from batch_predictions.orchestration.run_selection import select_assets
from batch_predictions.planning.run_plan import RunPlan, plan_run
from batch_predictions.planning.unchanged import are_weeks_unchanged
from batch_predictions.settings import Settings
from batch_predictions.sources.base import Source
from batch_predictions.sources.source_registry import source_of
from batch_predictions.tables import EVENT_TABLES, Table
from batch_predictions.warehouse import Warehouse


@dataclass(frozen=True)
class PreparedRun:
    """A planned run, with the source and the runner that executes it.

    Attributes:
        plan: days, weeks and what is missing.
        source: of the home.
        runner: executes the jobs.
        only: the assets that it makes; None: all.
    """

    plan: RunPlan
    source: Source
    runner: JobRunner
    only: Collection[dg.AssetKey] | None


def prepare_run(
    settings: Settings,
    definitions: dg.Definitions,
    first: dt.date | None,
    last: dt.date | None,
    days: int | None,
    only: Sequence[str],
) -> PreparedRun:
    """Plans a run and makes the runner for it.

    Args:
        settings: of the home, which is initialised.
        definitions: the platform's definitions.
        first: first day to predict; None: as in `run.run`.
        last: last day to predict; None: as in `run.run`.
        days: number of days to predict up to `last`; None: as `first` says.
        only: names of the tables and models to make; empty: all.

    Raises:
        SettingsError: `only` names no table and no model.
        SourceError: the source cannot be read, or has no such day.
    """
    state = read_state(settings.home)
    assert state is not None, "loading the definitions initialises the home"
    home_instance.prepare(settings)
    source = source_of(settings, state)
    plan = plan_run(settings, source, state, Warehouse.of(settings), first, last, days)
    runner = JobRunner(dg.DagsterInstance.get(), definitions, missing_tables(source), settings)
    return PreparedRun(plan, source, runner, select_assets(runner.graph, only) if only else None)


def missing_tables(source: Source) -> list[Table]:
    """Tables of events that a source lacks."""
    return [table for table in EVENT_TABLES if table not in source.tables()]


def possible_trainings(
    assets: JobAssets, only: Collection[dg.AssetKey] | None
) -> dict[str, Training]:
    """Trainings by name, without those whose tables the source lacks, or that are not selected."""
    return {
        name: training
        for name, training in trainings().items()
        if not {*training.tables} & {*assets.missing} and (only is None or model_key(name) in only)
    }


def model_key(name: str) -> dg.AssetKey:
    """Returns the asset key of a model."""
    return dg.AssetKey(["models", name])


def are_weeks_predicted(
    assets: JobAssets,
    instance: dg.DagsterInstance,
    settings: Settings,
    plan: RunPlan,
    warehouse: Warehouse,
) -> bool:
    """Returns whether the weekly tables are materialized and nothing they read is new."""
    weeks = {week.isoformat() for week in plan.weeks}
    return are_weeks_unchanged(settings, plan, warehouse) and all(
        weeks <= instance.get_materialized_partitions(key)
        for key in assets.keys(jobs.WEEKLY_PREDICTIONS)
    )
