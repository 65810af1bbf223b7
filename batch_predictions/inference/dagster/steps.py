"""The three steps of a prediction, for all partitions of a run: stage, score, load."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from batch_predictions.home import atomic_write
from batch_predictions.inference import engine, staging
from batch_predictions.inference import validation as loading
from batch_predictions.inference.cleanup import sweep
from batch_predictions.inference.declaration import BatchPrediction, asset_key_of
from batch_predictions.inference.partition_staging import (
    engine_folder,
    sql_parameters,
    stage_partition,
)
from batch_predictions.inference.results import metrics_of
from batch_predictions.inference.validation import ACCOUNTED, ValidationResult
from batch_predictions.model_store import ModelError, ModelStore
from batch_predictions.reporting import record_materializations
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES
from batch_predictions.warehouse import Warehouse

SECONDS_BETWEEN_LINES = 10.0

PACE = "pace.json"
"""Beside the manifest: how fast it was scored, for the asset's metadata and its plots."""


def stage(
    context: dg.AssetExecutionContext,
    declared: BatchPrediction,
    warehouse: Warehouse,
    models: ModelStore,
    settings: Settings,
) -> dict[str, str]:
    """Stages every partition; the manifests' paths.

    Raises:
        Failure: partitions without an upstream or a model, all of them named.
    """
    kept = settings.inference
    sweep(engine_folder(settings), kept.keep_days, keep_partitions=kept.keep_partitions)
    _require_upstreams(declared, warehouse, context.partition_keys)
    handles, untrained = {}, []
    for partition in context.partition_keys:
        try:
            path = stage_partition(declared, partition, warehouse, models, settings)
        except ModelError as error:
            untrained.append(str(error))
            continue
        manifest = staging.StagingManifest.read(path)
        context.log.info(
            f"{declared.name} {partition}: {manifest.rows:,} rows to score in "
            f"{len(manifest.shards)} shards, model {manifest.model_version}"
        )
        handles[partition] = str(path)
    if untrained:
        # All days at once: in a range, one would otherwise learn of them a run at a time.
        raise dg.Failure("; ".join(untrained), allow_retries=False)
    return handles


def score(
    context: dg.AssetExecutionContext,
    declared: BatchPrediction,
    settings: Settings,
    staged: Mapping[str, str],
) -> dict[str, str]:
    """Scores what has no result yet, and says how much that was and how fast it went."""
    for partition, path in staged.items():
        lines = _ProgressLogger(context, f"{declared.name} {partition}")
        done = engine.score(Path(path), settings.inference, lines, lines.begun)
        what = f"nothing to score, all {done.kept:,} results were kept"
        if done.scored:
            what = (
                f"{done.scored:,} rows scored in {done.seconds:.1f} s "
                f"({done.scored / done.seconds:,.0f} rows/s, {_counted(done.instances)} on "
                f"{done.device}), {done.kept:,} kept from before"
                + (f", {done.retried} shards tried again" if done.retried else "")
                + "; of the instances' time "
                + ", ".join(f"{name} {each:.0%}" for name, each in done.timings.shares().items())
            )
            pace = {
                "rows_per_second": round(done.scored / done.seconds, 1),
                "score_seconds": round(done.seconds, 2),
                "instances": done.instances,
                "device": done.device,
            }
            atomic_write(Path(path).with_name(PACE), json.dumps(pace))
        notes = "".join(
            f"; {name} {note.mean:.3f}, on a sample of {note.of:,}"
            for name, note in metrics_of(Path(path)).items()
        )
        context.log.info(f"{declared.name} {partition}: {what}{notes}")
    return dict(staged)


def load(
    context: dg.AssetExecutionContext,
    declared: BatchPrediction,
    warehouse: Warehouse,
    settings: Settings,
    scored: Mapping[str, str],
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Judges every partition, and replaces all of them or none.

    Raises:
        Failure: a check failed.
    """
    judgements = [
        loading.validate(
            warehouse,
            declared.table,
            Path(path),
            declared.checks,
            sql_parameters(declared, partition, settings),
            declared.child_tables,
        )
        for partition, path in scored.items()
    ]
    asked = {key.name for key in context.selected_asset_check_keys}
    results = [
        _check_result(declared, check, judgements)
        for check in declared.all_checks
        if check.name in asked
    ]
    failing = sorted(each.partition for each in judgements if not each.passed)
    if failing:
        # A result without a materialization: the old rows stay, and nothing counts as made.
        yield from results
        broken = sorted({name for j in judgements for name, n in j.broken.items() if n})
        raise dg.Failure(
            f"{declared.name}: nothing was replaced, since {', '.join(failing)} failed "
            f"{', '.join(broken)}; the check's metadata names what is wrong",
            allow_retries=False,
        )
    loaded = {
        partition: loading.load(warehouse, declared.table, Path(path), declared.child_tables)
        for partition, path in scored.items()
    }
    for companion in declared.child_tables.values():
        key = asset_key_of(companion)
        beside = {day: each.child_tables[companion.qualified] for day, each in loaded.items()}
        record_materializations(context, warehouse, beside, asset_key=key)
        if key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=key)
    record_materializations(
        context,
        warehouse,
        {partition: each.main for partition, each in loaded.items()},
        extra={each.partition: _extra(each, scored) for each in judgements},
        plot=lambda: declared.plot(warehouse, max(loaded)) if declared.plot else None,
        asset_key=declared.asset_key,
    )
    if declared.asset_key in context.selected_asset_keys:
        yield dg.MaterializeResult(asset_key=declared.asset_key, check_results=results)


def _require_upstreams(
    declared: BatchPrediction, warehouse: Warehouse, partitions: Sequence[str]
) -> None:
    """Fails where a day's upstream was never made: scoring no rows would look like success."""
    missing = []
    for name in sorted(declared.tables()):
        table = TABLES[name]
        if table.partition != declared.table.partition or table.parts:
            continue
        there = set(warehouse.partitions(table))
        lacking = [key for key in partitions if key not in there]
        if lacking:
            missing.append(f"{name.replace('.', '/')} for {_short(lacking)}")
    if missing:
        raise dg.Failure(
            f"{declared.name} stands on partitions that were not made: {'; '.join(missing)}. "
            "Materialize them first, or use `batch-predictions run`",
            allow_retries=False,
        )


def _short(keys: Sequence[str]) -> str:
    return ", ".join(keys) if len(keys) < 4 else f"{keys[0]} to {keys[-1]} ({len(keys)})"


def _check_result(
    declared: BatchPrediction, check: loading.Check, judgements: Sequence[ValidationResult]
) -> dg.AssetCheckResult:
    """One result for a run; in a range it lists the failing partitions with their figures."""
    failing = {j.partition: j.broken[check.name] for j in judgements if j.broken[check.name]}
    metadata: dict[str, Any] = {"partitions": len(judgements)}
    if check is ACCOUNTED:
        for what in ("staged", "scored", "excluded"):
            metadata[what] = sum(getattr(j, what) for j in judgements)
    if failing:
        metadata["failing"] = dg.MetadataValue.json(failing)
        examples = {j.partition: j.examples.get(check.name) for j in judgements}
        what = "; ".join(f"{day}: {example}" for day, example in examples.items() if example)
        metadata.update({"what": what} if what else {})
    return dg.AssetCheckResult(
        passed=not failing,
        check_name=check.name,
        asset_key=declared.asset_key,
        description=check.description,
        metadata=metadata,
    )


def _extra(judgement: ValidationResult, scored: Mapping[str, str]) -> dict[str, Any]:
    path = Path(scored[judgement.partition])
    manifest = staging.StagingManifest.read(path)
    noted: dict[str, Any] = {}
    for name, note in metrics_of(path).items():
        noted |= {name: note.mean, f"{name}_sample": note.of}
    kept = path.with_name(PACE)
    pace = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    return {
        "keys_eligible": judgement.staged,
        "keys_scored": judgement.scored,
        "keys_excluded": judgement.excluded,
        "model_version": manifest.model_version,
        **noted,
        **pace,
    }


def _counted(instances: int) -> str:
    return f"{instances} instance" + ("s" if instances != 1 else "")


class _ProgressLogger:
    """Progress as log lines at a human pace: where, rows, rows per second, time left."""

    def __init__(self, context: dg.AssetExecutionContext, what: str) -> None:
        self.context, self.what = context, what
        self.began = self.spoke = time.perf_counter()

    def begun(self, device: str, instances: int, total: int) -> None:
        """Says what is at work, before a first shard has ended."""
        self.context.log.info(
            f"{self.what}: {total:,} rows to score by {_counted(instances)} on {device}"
        )

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        if now - self.spoke < SECONDS_BETWEEN_LINES:
            return
        self.spoke = now
        rate = done / (now - self.began)
        self.context.log.info(
            f"{self.what}: {done:,} of {total:,} rows, {rate:,.0f} rows/s, "
            f"{(total - done) / rate:,.0f} s left"
        )
