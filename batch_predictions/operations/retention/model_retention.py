"""Removes versions of models that no day needs any longer, and the decisions that name them."""

from __future__ import annotations

import datetime as dt
import shutil
import uuid
from collections.abc import Collection
from itertools import takewhile
from pathlib import Path

from batch_predictions.core.durability import fsync_ancestors
from batch_predictions.models.model_store import ModelStore
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES
from batch_predictions.warehouse import Warehouse, as_date


def remove_old_models(
    models: ModelStore, warehouse: Warehouse, settings: Settings, released: Collection[str]
) -> list[str]:
    """Removes versions that never served, and those whose predictions are no longer kept.

    Args:
        models: of the home.
        warehouse: after its old partitions were removed.
        settings: how many trainings and days are kept.
        released: versions that stay, since a release has their predictions.

    Returns:
        The removed versions.
    """
    oldest = _oldest_prediction(warehouse) if settings.retention.prediction_days else None
    removed = []
    for model in models.models():
        if oldest is not None:
            _remove_old_decisions(models, model, oldest)
        removed += _remove_unused_versions(models, model, settings.retention.trainings, released)
    return removed


def _remove_unused_versions(
    models: ModelStore, model: str, keep: int, protected: Collection[str]
) -> list[str]:
    """Removes versions that no decision names and that are not protected; returns them.

    Those of the `keep` newest trainings stay.
    """
    named = {decision.version for decision in models.decisions(model)}
    stored = {version: models.manifest(model, version) for version in models.versions(model)}
    trained = sorted({manifest.trained_through for manifest in stored.values()})[-keep:]
    removed = [
        version
        for version, manifest in stored.items()
        if version not in named
        and version not in protected
        and manifest.trained_through not in trained
    ]
    for version in removed:
        folder = models.folder(model, version)
        # Renamed first: a folder with some of a version's files would look like the version.
        doomed = folder.parent.parent / f".removed-{uuid.uuid4().hex}"
        folder.replace(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return removed


def _remove_old_decisions(models: ModelStore, model: str, oldest: dt.date) -> None:
    """Removes the decisions before the first one for a version that is needed.

    Needed are the versions that serve the oldest day and later ones, and the one that served
    before, for a roll-back. No decision between others is removed, for an old day would then get
    another champion than it had.
    """
    decisions = models.decisions_by_file(model)
    by_then = [d.version for d in decisions.values() if d.effective_from <= oldest]
    if not by_then:
        return
    earlier = [version for version in by_then if version != by_then[-1]]
    needed = {by_then[-1], *earlier[-1:]}
    needed |= {d.version for d in decisions.values() if d.effective_from > oldest}
    surplus = list(takewhile(lambda path: decisions[path].version not in needed, decisions))
    for path in surplus:
        path.unlink()
    if surplus:
        # Before its version is removed: a decision that comes back would name a missing one.
        fsync_ancestors(surplus[0].parent, Path(models.home))


def _oldest_prediction(warehouse: Warehouse) -> dt.date | None:
    """The oldest day or week that the warehouse has predictions of."""
    tables = [table for table in TABLES.values() if table.schema == "predictions"]
    days = [
        keys[0] for table in tables if table.partition and (keys := warehouse.partitions(table))
    ]
    return min(map(as_date, days), default=None)
