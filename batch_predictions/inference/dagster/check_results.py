"""Results of checks, and metadata, that the step `load` reports for its partitions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.dagster.model_links import model_links
from batch_predictions.inference.results import StagingManifest, mean_metrics
from batch_predictions.inference.validation import KEYS_ACCOUNTED, Check, ValidationResult
from batch_predictions.models.model_store import ModelStore
from batch_predictions.settings import Settings

PACE_FILE = "pace.json"
"""File in the manifest's folder with the scoring speed, for the asset's metadata."""


def check_result(
    prediction: BatchPrediction, check: Check, validations: Sequence[ValidationResult]
) -> dg.AssetCheckResult:
    """Builds the result of a check for a run, with the failing partitions and their counts.

    Args:
        prediction: whose partitions were validated.
        check: one of its checks.
        validations: of the run's partitions.
    """
    failing = {v.partition: v.violations[check.name] for v in validations}
    failing = {partition: count for partition, count in failing.items() if count}
    metadata: dict[str, Any] = {"partitions": len(validations)}
    if check is KEYS_ACCOUNTED:
        for count in ("staged", "scored", "excluded"):
            metadata[count] = sum(getattr(result, count) for result in validations)
    if failing:
        metadata["failing"] = dg.MetadataValue.json(failing)
        examples = {v.partition: v.examples.get(check.name) for v in validations}
        messages = [f"{partition}: {text}" for partition, text in examples.items() if text]
        metadata |= {"what": "; ".join(messages)} if messages else {}
    return dg.AssetCheckResult(
        passed=not failing,
        check_name=check.name,
        asset_key=prediction.asset_key,
        description=check.description,
        metadata=metadata,
    )


def load_metadata(
    instance: dg.DagsterInstance,
    prediction: BatchPrediction,
    settings: Settings,
    validations: Sequence[ValidationResult],
    scored: Mapping[str, str],
) -> dict[str, dict[str, object]]:
    """Metadata of materializations by partition: key counts, model, metrics, speed.

    Args:
        instance: with the materializations of trainings.
        prediction: the declaration.
        settings: of the home with the models.
        validations: of the partitions.
        scored: the manifests' paths by partition.
    """
    models = ModelStore.of(settings)
    metadata: dict[str, dict[str, object]] = {}
    for validation in validations:
        partition, path = validation.partition, Path(scored[validation.partition])
        version = StagingManifest.read(path).model_version
        links: dict[str, object] = {}
        if prediction.model:
            day = prediction.as_of(partition)
            links = model_links(instance, models, prediction.model, version, day)
        metadata[partition] = {
            **_count_metadata(validation),
            "model_version": version,
            **links,
            **_score_metadata(path),
        }
    return metadata


def _count_metadata(validation: ValidationResult) -> dict[str, object]:
    """Numbers of keys, and of those without a prediction by reason."""
    reasons = validation.reasons
    return {
        "keys_eligible": validation.staged,
        "keys_scored": validation.scored,
        "keys_excluded": validation.excluded,
        **({"exclusions": dg.MetadataValue.json(reasons)} if reasons else {}),
    }


def _score_metadata(path: Path) -> dict[str, object]:
    """The scorer's metrics and its speed, beside the manifest at a path."""
    metrics: dict[str, object] = {}
    for name, metric in mean_metrics(path).items():
        metrics |= {name: metric.mean, f"{name}_sample": metric.sample_size}
    pace_file = path.with_name(PACE_FILE)
    pace = json.loads(pace_file.read_text("utf-8")) if pace_file.exists() else {}
    return {**metrics, **pace}
