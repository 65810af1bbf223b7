"""What the steps of a prediction report: log lines, results of checks, metadata and lineage."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.partition_loading import UNSTAGED
from batch_predictions.inference.pools.engine import ScoreSummary
from batch_predictions.inference.results import StagingManifest, mean_metrics
from batch_predictions.inference.validation import KEYS_ACCOUNTED, Check, ValidationResult
from batch_predictions.models.model_store import ModelStore
from batch_predictions.settings import Settings
from batch_predictions.settings.operations_settings import ChecksSettings
from batch_predictions.tables import EXCLUSIONS, Table
from batch_predictions.tables.partitions import latest_ended_week
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.column_lineage import Lineage, all_sources, read_lineage
from batch_predictions.warehouse.partition_profiles import read_profile
from batch_predictions.warehouse.usual_days import MIN_ROWS, MIN_WEEKS

PROGRESS_SECONDS = 10.0
"""Time between two log lines of progress."""


class ProgressLogger:
    """Logs progress every `PROGRESS_SECONDS`: rows, rows per second, remaining time."""

    def __init__(self, context: dg.AssetExecutionContext, label: str) -> None:
        self.context, self.label = context, label
        self.started = self.last_logged = time.perf_counter()

    def log_start(self, device: str, instances: int, row_count: int) -> None:
        """Logs device and instances, before the first shard is scored."""
        self.context.log.info(
            f"{self.label}: {row_count:,} rows to score by {_format_instances(instances)} "
            f"on {device}"
        )

    def __call__(self, scored_rows: int, row_count: int) -> None:
        """Logs the progress, at most once in `PROGRESS_SECONDS`."""
        now = time.perf_counter()
        if now - self.last_logged < PROGRESS_SECONDS:
            return
        self.last_logged = now
        rate = scored_rows / (now - self.started)
        self.context.log.info(
            f"{self.label}: {scored_rows:,} of {row_count:,} rows, {rate:,.0f} rows/s, "
            f"{(row_count - scored_rows) / rate:,.0f} s left"
        )


def format_summary(summary: ScoreSummary) -> str:
    """Formats rows, speed, device, retries and share of time by stage as a log line."""
    if not summary.scored_rows:
        return f"nothing to score, all {summary.reused_rows:,} rows have results"
    rate = summary.scored_rows / summary.seconds
    shares = ", ".join(f"{stage} {s:.0%}" for stage, s in summary.timings.shares().items())
    return (
        f"{summary.scored_rows:,} rows scored in {summary.seconds:.1f} s ({rate:,.0f} rows/s, "
        f"{_format_instances(summary.instances)} on {summary.device}), "
        f"{summary.reused_rows:,} reused from earlier runs"
        + (f", {summary.retries} shards retried" if summary.retries else "")
        + f"; share of the instances' time: {shares}"
    )


def _format_instances(count: int) -> str:
    return f"{count} instance" + ("s" if count != 1 else "")


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
        for count in ("eligible", "staged", "scored", "excluded"):
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
        "keys_eligible": validation.eligible,
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


def model_links(
    instance: dg.DagsterInstance, models: ModelStore, model: str, version: str, day: dt.date
) -> dict[str, object]:
    """Asset, week and run of a version's training, and why the version serves a day.

    Args:
        instance: with the trainings' materializations.
        models: the model store.
        model: name of the model.
        version: the version that made the prediction.
        day: the last day whose data the prediction uses.
    """
    key = dg.AssetKey(["models", model])
    week = latest_ended_week(models.manifest(model, version).trained_through).isoformat()
    links: dict[str, object] = {"model": dg.MetadataValue.asset(key), "model_week": week}
    # The run of a week that was trained elsewhere, as in a restored home, is not known.
    trainings = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[week])
    records = instance.fetch_materializations(trainings, limit=1).records
    if records:
        links["model_training_run"] = dg.MetadataValue.dagster_run(records[0].run_id)
    decisions = [
        decision
        for decision in models.decisions(model)
        if decision.version == version and decision.effective_from <= day
    ]
    if decisions:
        newest = decisions[-1]
        links["model_decision"] = f"{newest.decision} on {newest.effective_from}: {newest.why}"
    return links


ROWS = "rows"


def prediction_lineage(
    warehouse: Warehouse, prediction: BatchPrediction, table: Table
) -> Lineage | None:
    """The lineage of a table that a prediction writes.

    The key's columns are those of the rows to score. A scorer reads these rows and the lookup
    tables whole, so that every other column is computed from all columns of both, but its own child
    tables (`BatchPrediction.tables`). Partition and model version are computed from no column.

    Args:
        warehouse: with the file of what is known.
        prediction: the declaration.
        table: its table, or a child table.

    Returns:
        None if the lineage of one of the declaration's queries is not known.
    """
    lookups = {f"lookup {name}": sql for name, sql in prediction.lookup_tables.items()}
    known = read_lineage(warehouse, prediction.table.qualified, {ROWS: prediction.rows, **lookups})
    if known is None:
        return None
    tables = prediction.tables()
    read_columns = [c for c in all_sources(known.values()) if c.rpartition(".")[0] in tables]
    return {
        column.name: known[ROWS].get(column.name, [])
        if column.name in prediction.key
        else read_columns
        for column in table.columns
        if column.name not in (table.partition, "model_version")
    }


MAX_FACTOR = 2.0
"""More than the largest number of the weeks before, times this, is unusual."""


def unusual_exclusions(
    warehouse: Warehouse, table: Table, day: dt.date, staged: int, limits: ChecksSettings
) -> str:
    """Explains why a day has unusually many keys without a prediction; empty if it has not.

    Counts are of keys that were among the rows to score: the check of the table's rows sees where
    these are unusually few.

    Args:
        warehouse: with `predictions.exclusions` of the day and of earlier ones.
        table: of the prediction.
        day: of the partition.
        staged: keys that were to be scored.
        limits: `weeks` that are compared, and `null_share`, the share of the keys that is usual
            whatever the weeks before.
    """
    part = {"table_name": table.name}
    counts = []
    for week in range(limits.weeks + 1):
        earlier = day - dt.timedelta(days=7 * week)
        profile = read_profile(warehouse.path(EXCLUSIONS, earlier.isoformat(), part), EXCLUSIONS)
        unstaged = int(profile.metadata.get(UNSTAGED, 0)) if profile else 0
        counts.append(profile.rows - unstaged if profile else None)
    excluded, before = counts[0], [count for count in counts[1:] if count is not None]
    if excluded is None or len(before) < MIN_WEEKS or staged < MIN_ROWS:
        return ""
    usual = max(limits.null_share * staged, MAX_FACTOR * max(before))
    if excluded <= usual:
        return ""
    return (
        f"{excluded:,} of {staged:,} keys have no prediction; up to {usual:,.0f} are usual: see "
        "predictions.exclusions"
    )
