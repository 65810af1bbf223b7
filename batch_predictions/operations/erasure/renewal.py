"""Renews the hashes and digests by which finished work is recognised, after an erasure.

Without it, the next run would train weeks again and predict the newest day again, since the files
that it compares have changed.
"""

from __future__ import annotations

import datetime as dt
import json

from batch_predictions.core.erasures import ErasureWork
from batch_predictions.core.home import HomeError, read_state
from batch_predictions.models.model_store import Decision, ModelError, ModelStore
from batch_predictions.models.training import data_version, trainings
from batch_predictions.planning.run_plan import RunPlan, plan_run
from batch_predictions.planning.unchanged import (
    FILE_NAME,
    are_weeks_unchanged,
    digest_of_run,
    find_unchanged_run,
    record_run,
    record_weeks,
)
from batch_predictions.settings import Settings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.source_registry import source_of
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse, as_date


def examine_work(settings: Settings) -> ErasureWork:
    """Records before an erasure which trainings are current and whether a run is due."""
    try:
        days = _days_of_last_run(settings)
        is_run_unchanged = days is not None and find_unchanged_run(settings, *days) is not None
        plan = _plan(settings)
        are_weeks = plan is not None and are_weeks_unchanged(settings, plan, _warehouse(settings))
    except (SourceError, HomeError, OSError):
        # The source cannot be read now: the next run finds out by itself what is due.
        is_run_unchanged = are_weeks = False
    current = [
        (decision.model, str(decision.effective_from))
        for decision, version in _data_versions(settings)
        if decision.data_version == version
    ]
    return ErasureWork(
        trainings=current, is_run_unchanged=is_run_unchanged, are_weeks_unchanged=are_weeks
    )


def renew(settings: Settings, work: ErasureWork) -> None:
    """Restores the hashes and digests of work that was finished before the erasure."""
    models = ModelStore.of(settings)
    wanted = set(work.trainings)
    for decision, version in _data_versions(settings):
        key = (decision.model, str(decision.effective_from))
        if key in wanted and decision.data_version != version:
            models.decide(decision.model_copy(update={"data_version": version}))
    if not (work.is_run_unchanged or work.are_weeks_unchanged):
        return
    plan = _plan(settings)
    if plan is None:
        return
    warehouse = _warehouse(settings)
    if work.are_weeks_unchanged:
        record_weeks(settings, plan, warehouse)
    if work.is_run_unchanged and (settings.home / FILE_NAME).exists():
        record = json.loads((settings.home / FILE_NAME).read_text(encoding="utf-8"))
        record_run(settings, digest_of_run(settings, plan, warehouse), record["summary"])


def _warehouse(settings: Settings) -> Warehouse:
    return Warehouse.of(settings)


def _days_of_last_run(settings: Settings) -> tuple[dt.date, dt.date] | None:
    """The first and last day that the last run predicted; None if that is not known."""
    try:
        text = (settings.home / FILE_NAME).read_text(encoding="utf-8")
        summary = json.loads(text)["summary"]
        return as_date(summary["first_day"]), as_date(summary["last_day"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _plan(settings: Settings) -> RunPlan | None:
    """Plans the last run again; None if there was none."""
    state, days = read_state(settings.home), _days_of_last_run(settings)
    if state is None or days is None:
        return None
    source = source_of(settings, state)
    return plan_run(settings, source, state, _warehouse(settings), *days)


def _data_versions(settings: Settings) -> list[tuple[Decision, str]]:
    """Pairs every decision of a training with the hash of the rows that it would read now."""
    models, warehouse = ModelStore.of(settings), _warehouse(settings)
    versions: dict[tuple[tuple[Table, ...], int, str], str] = {}
    result = []
    for name, training in trainings().items():
        days = training.history_days(settings)
        try:
            decisions = models.decisions(name)
        except ModelError:
            continue  # `doctor` names the file.
        for decision in decisions:
            if not decision.data_version:
                continue
            key = (tuple(training.tables), days, str(decision.effective_from))
            if key not in versions:
                # Hashed once for all models that read the same rows.
                through = decision.effective_from
                versions[key] = data_version(warehouse, through, training.tables, days)
            result.append((decision, versions[key]))
    return result
