"""What the step `load` tells of its partitions: results of checks, and metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from batch_predictions.inference.dagster.model_links import model_links
from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.manifest import StagingManifest
from batch_predictions.inference.results import mean_metrics
from batch_predictions.inference.validation import KEYS_ACCOUNTED, Check, ValidationResult
from batch_predictions.model_store import ModelStore

PACE_FILE = "pace.json"
"""File in the manifest's folder with the scoring speed, for the asset's metadata."""


def check_result(
    prediction: BatchPrediction, check: Check, validations: Sequence[ValidationResult]
) -> dg.AssetCheckResult:
    """One result for a run; for a range it lists the failing partitions with their counts."""
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
    models: ModelStore,
    validation: ValidationResult,
    scored: Mapping[str, str],
) -> dict[str, Any]:
    """Metadata of one partition's materialization: key counts, model, metrics, speed.

    Args:
        instance: with the materializations of trainings.
        prediction: the declaration.
        models: the model store.
        validation: of the partition.
        scored: the manifests' paths by partition.
    """
    path = Path(scored[validation.partition])
    metrics: dict[str, Any] = {}
    for name, metric in mean_metrics(path).items():
        metrics |= {name: metric.mean, f"{name}_sample": metric.sample_size}
    reasons = validation.reasons
    pace_file = path.with_name(PACE_FILE)
    pace = json.loads(pace_file.read_text("utf-8")) if pace_file.exists() else {}
    version = StagingManifest.read(path).model_version
    links: dict[str, Any] = {}
    if prediction.model:
        day = prediction.as_of(validation.partition)
        links = model_links(instance, models, prediction.model, version, day)
    return {
        "keys_eligible": validation.staged,
        "keys_scored": validation.scored,
        "keys_excluded": validation.excluded,
        **({"exclusions": dg.MetadataValue.json(reasons)} if reasons else {}),
        "model_version": version,
        **links,
        **metrics,
        **pace,
    }
