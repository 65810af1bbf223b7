"""`batch-predictions models train`: trains one model through the newest week that has ended."""

from __future__ import annotations

import dagster as dg

from batch_predictions.models.model_store import Decision, ModelError, ModelStore
from batch_predictions.models.training import trainings
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.orchestration import jobs
from batch_predictions.orchestration.job_runner import JobRunner
from batch_predictions.orchestration.planner import Planner, model_key
from batch_predictions.orchestration.progress import show_progress
from batch_predictions.settings import Settings, SettingsError
from batch_predictions.tables.partitions import trained_through


def train_model(
    settings: Settings, definitions: dg.Definitions, name: str, *, force: bool
) -> tuple[Decision, str | None]:
    """Trains a model with the rows that the home has, if it is due or if `force` says so.

    Args:
        settings: of the home.
        definitions: the platform's, of `batch_predictions.definitions`.
        name: of the model.
        force: whether a model that is up to date is trained again.

    Returns:
        The decision about the week, and why it was trained; None: it was up to date.

    Raises:
        SettingsError: there is no such model, or the source lacks what it needs.
        ModelError: the training failed; the message has its reason.
        SourceError: the source cannot be read.
    """
    if name not in trainings():
        raise SettingsError(f"there is no model {name!r}: {', '.join(sorted(trainings()))}")
    home_instance.prepare(settings)
    instance = dg.DagsterInstance.get()
    planner = Planner(
        settings, instance, definitions.resolve_asset_graph(), only=[f"models/{name}"]
    )
    plan = planner.plan(None, None)
    week, models = plan.weeks[-1], ModelStore.of(settings)
    reason = planner.training_reasons(plan).get(week, {}).get(name)
    if reason is None and force:
        reason = "asked for"
    if reason:
        runner = JobRunner(instance, definitions, planner.assets.missing, settings)
        job, key = jobs.WEEKLY_TRAINING, model_key(name)
        with show_progress(runner.weight(job, only={key})) as progress:
            failures = runner.attempt(job, [week.isoformat()], progress, only=[key])
        if failures:
            raise ModelError(f"{name} through {trained_through(week)}: {failures[0].reason}")
    decision = models.training(name, trained_through(week))
    if decision is None:
        raise ModelError(f"{name} was never trained: the source lacks the tables that it needs")
    return decision, reason
