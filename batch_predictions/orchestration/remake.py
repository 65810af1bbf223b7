"""The part of a run that makes again what damaged files had."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import dagster as dg

from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.publishing import restore_log
from batch_predictions.orchestration import jobs
from batch_predictions.orchestration.job_runner import JobRunner, RunError
from batch_predictions.orchestration.progress import ProgressBar
from batch_predictions.planning.repair import move_broken_models_aside, read_repair
from batch_predictions.planning.run_plan import RunPlan
from batch_predictions.settings import Settings
from batch_predictions.tables.partitions import days_between
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.reporting import CADENCE

MAX_GAP_DAYS = 7
"""Partitions further apart are materialized by runs of their own."""


def make_again(
    runner: JobRunner, plan: RunPlan, progress: ProgressBar, settings: Settings
) -> tuple[list[str], list[str]]:
    """Trains damaged models and makes lost partitions again, but those that the plan makes anyway.

    What cannot be made again does not stop the run. When all is made, call `finish_repair`.

    Args:
        runner: executes the jobs.
        plan: of the run that is under way.
        progress: the bar to move.
        settings: of the home.

    Returns:
        What is made again and what is not, in words; keys of the partitions that are not.
    """
    days = days_between(plan.first, plan.last)
    lines = [
        f"{version} was damaged and is moved aside"
        for version in move_broken_models_aside(settings, [as_date(day) for day in days])
    ]
    repair = read_repair(settings)
    for part in repair.logs:
        restore_log(ModelStore.of(settings), Warehouse.of(settings), part)
        lines.append(f"the log of decisions of {part['model']} written again")
    failed: list[str] = []
    for week, models in sorted(repair.trainings.items()):
        only = [dg.AssetKey(["models", model]) for model in sorted(models)]
        runner.execute(jobs.WEEKLY_TRAINING, [week.isoformat()], progress, only=only)
        lines.append(f"{', '.join(sorted(models))} trained again for the week {week}")
    planned = {*days, *(week.isoformat() for week in plan.weeks)}
    for partition, paths in sorted(repair.assets.items()):
        keys = [dg.AssetKey(list(path)) for path in sorted(paths)]
        keys = [key for key in keys if runner.graph.has(key)]
        names = ", ".join("/".join(path) for path in sorted(paths))
        if partition in planned:
            lines.append(f"{names} of {partition} made again")
            continue
        try:
            _materialize(runner, partition, keys, progress)
        except RunError as error:
            failed.append(partition)
            lines.append(f"{names} of {partition} could not be made again: {error}")
        else:
            lines.append(f"{names} of {partition} made again")
    ingested = sorted({*repair.days, *repair.weeks_ahead})
    lines += [f"raw rows of {partition} read again" for partition in ingested]
    return lines, failed


def near_partitions(keys: Sequence[str]) -> Iterator[list[str]]:
    """Partitions in groups that are materialized together, those between them included.

    Args:
        keys: days or weeks, oldest first.
    """
    group: list[str] = []
    for key in keys:
        if group and as_date(key) - as_date(group[-1]) > dt.timedelta(days=MAX_GAP_DAYS):
            yield group
            group = []
        group.append(key)
    if group:
        yield group


def _materialize(
    runner: JobRunner, partition: str, keys: Sequence[dg.AssetKey], progress: ProgressBar
) -> None:
    """Materializes derived assets of a partition, weekly and daily ones by the job of theirs."""
    weekly = [key for key in keys if runner.graph.get(key).tags.get(CADENCE) == "weekly"]
    daily = [key for key in keys if key not in weekly]
    if weekly:
        runner.execute(jobs.WEEKLY_PREDICTIONS, [partition], progress, only=weekly)
    if daily:
        runner.execute(jobs.NIGHTLY, [partition], progress, jobs.AFTER_INGEST, only=daily)
