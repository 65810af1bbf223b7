"""Trains past weeks side by side, ahead of their predictions, which go from week to week.

A training reads nothing but rows of its week and before, so that weeks can be trained at once. A
decision depends on those before it: it is made again in the order of the weeks.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import Trained, publish
from batch_predictions.operations.backtest.home_run import (
    BacktestError,
    Progress,
    runs_of_threads,
)
from batch_predictions.operations.backtest.past_weeks import PastWeeks
from batch_predictions.sources.shrinkage import newest_ingested_day
from batch_predictions.warehouse import Warehouse

WORKER_BYTES = 4 * 2**30
"""Free memory for each worker: the trainings of the demo take up to 2.5 GiB."""


def default_workers() -> int:
    """Weeks that this machine can train at once: half its cores, as far as memory is free."""
    import psutil

    free = psutil.virtual_memory().available
    return int(max(1, min(len(os.sched_getaffinity(0)) // 2, free // WORKER_BYTES)))


def train_ahead(
    weeks: PastWeeks, ends: Sequence[dt.date], workers: int, progress: Progress
) -> None:
    """Trains the models of the newest week that was run, as of the end of other weeks.

    Each worker has a home of its own with a share of the weeks. A week that fails is trained again
    by `run_week`, which says why.

    Args:
        weeks: of which a week has been run.
        ends: Sundays after it, oldest first.
        workers: weeks that are trained at once.
        progress: receives lines, of several threads.
    """
    names = weeks.trained_models()
    stores = [ModelStore(home=str(home.absolute())) for home in weeks.workers()]
    ends = [
        end
        for end in ends
        if not all(any(store.training(name, end) for store in stores) for name in names)
    ]
    if workers < 2 or len(ends) < 2 or not (names and weeks.is_weekly()):
        return
    shares: dict[int, list[dt.date]] = {}
    for end in ends:
        # By the calendar, so that a backtest that was stopped finds what it has trained.
        shares.setdefault(end.toordinal() // 7 % workers, []).append(end)
    only = tuple(f"models.{name}" for name in names)
    with ThreadPoolExecutor(workers) as pool, runs_of_threads():
        futures = [
            pool.submit(
                _train_share,
                weeks,
                replace(weeks, name=f"{weeks.worker_prefix}{workers}-{place}", only=only),
                share,
                progress,
            )
            for place, share in shares.items()
        ]
        for future in futures:
            future.result()


def _train_share(
    weeks: PastWeeks, worker: PastWeeks, ends: Sequence[dt.date], progress: Progress
) -> None:
    newest = newest_ingested_day(worker.home)
    if newest is None or newest > ends[0]:
        weeks.copy_rows(worker)
    for end in ends:
        try:
            worker.run(end, progress)
        except BacktestError as error:
            progress(f"{worker.name}: {error}")


def adopt_trainings(weeks: PastWeeks, sunday: dt.date) -> None:
    """Stores what workers have trained through a Sunday, and decides by the weeks before it.

    Args:
        weeks: of which all weeks before have been run.
        sunday: last day of the trainings.
    """
    with weeks.as_run() as (settings, warehouse):
        models = ModelStore.of(settings)
        for home in weeks.workers():
            trained = ModelStore(home=str(home.absolute()))
            of_home = Warehouse.of(settings.model_copy(update={"home": home}))
            for name in trained.models():
                decision, own = trained.training(name, sunday), models.training(name, sunday)
                if decision is None or (own and own.data_version == decision.data_version):
                    continue
                result = _result_of(trained, of_home, name, sunday)
                data, code = decision.data_version, decision.code
                publish(name, result, sunday, models, warehouse, data, code, decision.settings)


def _result_of(models: ModelStore, warehouse: Warehouse, name: str, sunday: dt.date) -> Trained:
    """The result of a stored training, before its decision."""
    decision = models.training(name, sunday)
    assert decision is not None
    manifests = (models.manifest(name, version) for version in models.versions(name))
    manifest = next(
        manifest
        for manifest in manifests
        if (manifest.trained_through, manifest.data_version) == (sunday, decision.data_version)
    )
    return Trained(
        write=partial(_copy_files, models.folder(name, manifest.version)),
        candidate=manifest.candidate,
        beats_baseline=decision.decision == "promoted",
        parameters=manifest.parameters,
        why=decision.why.removeprefix(f"{decision.version} stays: "),
        metrics=warehouse.query(
            "select candidate, metric, value, lower, upper, n from evaluation.model_metrics "
            "where model = $model and trained_through = $through::DATE",
            {"model": name, "through": sunday},
        ).to_pylist(),
    )


def _copy_files(stored: Path, folder: Path) -> None:
    ignored = shutil.ignore_patterns("manifest.json")
    shutil.copytree(stored, folder, ignore=ignored, dirs_exist_ok=True)
