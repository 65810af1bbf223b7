"""Notices scorers of plugins that were edited while their version stayed.

A result is kept for its rows, model and the scorer's version, so that an edited scorer would score
nothing. What its code was is recorded with the first results of a version.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.home_bucket import bucket_of
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.partition_staging import engine_folder
from batch_predictions.inference.scorer import scorer_name
from batch_predictions.models.training_inputs import code_of_file
from batch_predictions.settings import Settings
from batch_predictions.tables.discovery import PACKAGE, instances

FILE_NAME = "scorer_code.json"
"""File in the engine's folder of a prediction: scorer, version and a hash of the code."""


def record_scorer_code(settings: Settings, prediction: BatchPrediction) -> None:
    """Records the code of a plugin's scorer, unless that of its version is recorded.

    Args:
        settings: of the home.
        prediction: whose results are complete.
    """
    now, path = _state(prediction), _path(settings, prediction)
    if now is not None and _read(path)[:2] != now[:2]:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(now))


def edited_scorers(
    settings: Settings, predictions: Iterable[BatchPrediction] | None = None
) -> dict[str, str]:
    """Finds tables whose scorer has another code than its version had; says what to do.

    Args:
        settings: of the home.
        predictions: declarations; None: all. Those of the platform itself are left out.

    Returns:
        A sentence by table, its qualified name.
    """
    edited = {}
    if predictions is None:
        predictions = instances(BatchPrediction, "predictions/*.py")
    for prediction in predictions:
        now, recorded = _state(prediction), _read(_path(settings, prediction))
        if now is not None and recorded[:2] == now[:2] and recorded != now:
            name = prediction.table.qualified
            edited[name] = (
                f"the code of {name} has changed since version {now[1]} of "
                f"{now[0].rpartition(':')[2]}, whose results are kept: raise its version, or "
                "`batch-predictions run --force` scores again"
            )
    return edited


def forget_results_of_edited(settings: Settings) -> None:
    """Removes the kept results of edited scorers, so that they score again."""
    for name in edited_scorers(settings):
        folder = name.partition(".")[2]
        shutil.rmtree(engine_folder(settings) / folder, ignore_errors=True)
        if (bucket := bucket_of(settings.home)) is not None:
            bucket.remove_shared(folder=folder)


def _path(settings: Settings, prediction: BatchPrediction) -> Path:
    return engine_folder(settings) / prediction.table.name / FILE_NAME


def _state(prediction: BatchPrediction) -> list[str] | None:
    """Scorer, version and hash of the code; None for a scorer of the platform."""
    file = Path(inspect.getsourcefile(prediction.scorer) or "")
    if file.is_relative_to(PACKAGE) or not file.is_file():
        return None
    scorer = prediction.scorer
    return [scorer_name(scorer), scorer.version, code_of_file(file)]


def _read(path: Path) -> list[str]:
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return recorded if isinstance(recorded, list) else []
