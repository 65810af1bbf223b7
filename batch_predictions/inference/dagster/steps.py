"""The three steps of a prediction, for all partitions of a run: stage, score, load."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.home_bucket import share
from batch_predictions.features.tiles.building import tile_problems
from batch_predictions.inference.base import BatchPrediction, asset_key_of
from batch_predictions.inference.cleanup import remove_old_partitions
from batch_predictions.inference.dagster.io_manager import unfinished_runs
from batch_predictions.inference.dagster.step_reports import (
    PACE_FILE,
    ProgressLogger,
    check_result,
    format_summary,
    load_metadata,
    prediction_lineage,
    unusual_exclusions,
)
from batch_predictions.inference.partition_loading import LoadResult, load_partition
from batch_predictions.inference.partition_staging import (
    engine_folder,
    sql_parameters,
    stage_partition,
)
from batch_predictions.inference.pools import engine
from batch_predictions.inference.results import StagingManifest, mean_metrics
from batch_predictions.inference.scorer_code import edited_scorers, record_scorer_code
from batch_predictions.inference.validation import ValidationResult, validate
from batch_predictions.models.model_store import ModelError, ModelStore
from batch_predictions.settings import Settings
from batch_predictions.sources.written_partitions import lost_partitions, unread_partitions
from batch_predictions.tables import TABLES, Table
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.delta_tables import count_rows
from batch_predictions.warehouse.reporting import record_materializations
from batch_predictions.warehouse.usual_check import IS_USUAL, check_is_usual


def stage(
    context: dg.AssetExecutionContext,
    prediction: BatchPrediction,
    warehouse: Warehouse,
    models: ModelStore,
    settings: Settings,
) -> dict[str, str]:
    """Stages every partition; returns the manifests' paths by partition.

    Args:
        context: of the step.
        prediction: to stage.
        warehouse: with the tables that the prediction's SQL reads.
        models: the model store.
        settings: of this home.

    Raises:
        Failure: partitions lack an upstream or a model; the message names them all.
    """
    inference = settings.inference
    remove_old_partitions(
        engine_folder(settings),
        inference.keep_days,
        keep_partitions=inference.keep_partitions,
        live_runs=unfinished_runs(context.instance),
    )
    _require_upstreams(prediction, warehouse, settings, context.partition_keys)
    manifest_paths, errors = {}, []
    for partition in context.partition_keys:
        try:
            path = stage_partition(prediction, partition, warehouse, models, settings)
        except ModelError as error:
            errors.append(str(error))
            continue
        manifest = StagingManifest.read(path)
        context.log.info(
            f"{prediction.name} {partition}: {manifest.rows:,} rows to score in "
            f"{len(manifest.shards)} shards, model {manifest.model_version}"
        )
        if manifest.rows == 0:
            _require_empty_upstreams(context, prediction, warehouse, partition)
        manifest_paths[partition] = str(path)
    if errors:
        # All partitions in one message, not one per run.
        raise dg.Failure("; ".join(errors), allow_retries=False)
    return manifest_paths


def score(
    context: dg.AssetExecutionContext,
    prediction: BatchPrediction,
    settings: Settings,
    staged: Mapping[str, str],
) -> dict[str, str]:
    """Scores every shard that has no result yet, and logs speed and metrics.

    Args:
        context: of the step.
        prediction: the declaration.
        settings: engine, workers and device.
        staged: the manifests' paths by partition.

    Returns:
        The manifests' paths by partition.
    """
    for message in edited_scorers(settings, [prediction]).values():
        context.log.warning(message)
    for partition, manifest_path in staged.items():
        path, label = Path(manifest_path), f"{prediction.name} {partition}"
        progress = ProgressLogger(context, label)
        summary = engine.score(path, settings.inference, progress, progress.log_start)
        if summary.scored_rows:
            pace = {
                "rows_per_second": round(summary.scored_rows / summary.seconds, 1),
                "score_seconds": round(summary.seconds, 2),
                "instances": summary.instances,
                "device": summary.device,
            }
            atomic_write(path.with_name(PACE_FILE), json.dumps(pace))
            if StagingManifest.read(path).shared:
                share(path.with_name(PACE_FILE))
        metrics = "".join(
            f"; {name} {metric.mean:.3f}, on a sample of {metric.sample_size:,}"
            for name, metric in mean_metrics(path).items()
        )
        context.log.info(f"{label}: {format_summary(summary)}{metrics}")
    record_scorer_code(settings, prediction)
    return dict(staged)


def load(
    context: dg.AssetExecutionContext,
    prediction: BatchPrediction,
    warehouse: Warehouse,
    settings: Settings,
    scored: Mapping[str, str],
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Validates every partition, and replaces all of them or none.

    Args:
        context: of the step.
        prediction: the declaration.
        warehouse: where the partitions are replaced.
        settings: the parameters of the checks.
        scored: the manifests' paths by partition.

    Raises:
        Failure: a check failed.
    """
    table, child_tables = prediction.table, prediction.child_tables
    validations = [
        validate(
            warehouse,
            table,
            Path(path),
            prediction.checks,
            sql_parameters(prediction, partition, settings),
            child_tables,
        )
        for partition, path in scored.items()
    ]
    checked = context.selected_asset_check_keys
    selected_checks = {key.name for key in checked if key.asset_key == prediction.asset_key}
    check_results = [
        check_result(prediction, check, validations)
        for check in prediction.all_checks
        if check.name in selected_checks
    ]
    if not all(result.passed for result in validations):
        # Check results without a materialization: the old rows stay.
        yield from check_results
        raise _validation_failure(prediction, validations)
    loaded = {
        partition: load_partition(warehouse, table, Path(path), child_tables)
        for partition, path in scored.items()
    }
    yield from _record_child_tables(context, prediction, warehouse, settings, loaded)
    record_materializations(
        context,
        warehouse,
        {partition: result.main for partition, result in loaded.items()},
        extra=load_metadata(context.instance, prediction, settings, validations, scored),
        plot=lambda: prediction.plot(warehouse, max(loaded)) if prediction.plot else None,
        lineage=lambda: prediction_lineage(warehouse, prediction, table),
        asset_key=prediction.asset_key,
    )
    if prediction.asset_key in context.selected_asset_keys:
        if IS_USUAL in selected_checks:
            check_results.append(_compare_newest(table, warehouse, settings, validations))
        yield dg.MaterializeResult(asset_key=prediction.asset_key, check_results=check_results)


def _compare_newest(
    table: Table,
    warehouse: Warehouse,
    settings: Settings,
    validations: Sequence[ValidationResult],
) -> dg.AssetCheckResult:
    """The check `is_usual` of the newest partition and of its keys without a prediction."""
    newest = max(validations, key=lambda validation: validation.partition)
    unusual = unusual_exclusions(
        warehouse, table, as_date(newest.partition), newest.staged, settings.checks
    )
    return check_is_usual(warehouse, settings, table, newest.partition, unusual)


def _validation_failure(
    prediction: BatchPrediction, validations: Sequence[ValidationResult]
) -> dg.Failure:
    failing = sorted(result.partition for result in validations if not result.passed)
    checks = sorted({name for v in validations for name, n in v.violations.items() if n})
    return dg.Failure(
        f"{prediction.name}: nothing was replaced, since {', '.join(failing)} failed "
        f"{', '.join(checks)}; the check's metadata has examples",
        allow_retries=False,
    )


def _record_child_tables(
    context: dg.AssetExecutionContext,
    prediction: BatchPrediction,
    warehouse: Warehouse,
    settings: Settings,
    loaded: Mapping[str, LoadResult],
) -> Iterator[dg.MaterializeResult[Any]]:
    for child in prediction.child_tables.values():
        key = asset_key_of(child)
        writes = {day: result.child_tables[child.qualified] for day, result in loaded.items()}
        record_materializations(
            context,
            warehouse,
            writes,
            lineage=functools.partial(prediction_lineage, warehouse, prediction, child),
            asset_key=key,
        )
        if key in context.selected_asset_keys:
            is_checked = dg.AssetCheckKey(key, IS_USUAL) in context.selected_asset_check_keys
            results = [check_is_usual(warehouse, settings, child, max(loaded))]
            yield dg.MaterializeResult(asset_key=key, check_results=results if is_checked else [])


def _require_upstreams(
    prediction: BatchPrediction,
    warehouse: Warehouse,
    settings: Settings,
    partitions: Sequence[str],
) -> None:
    """Fails where an upstream partition is missing: scoring no rows would look like success."""
    messages = []
    for name in sorted(prediction.tables()):
        table = TABLES[name]
        if table.partition != prediction.table.partition or table.parts:
            continue
        available = set(warehouse.partitions(table))
        missing = [partition for partition in partitions if partition not in available]
        if missing:
            messages.append(f"{name.replace('.', '/')} for {_format_partitions(missing)}")
    if unit := prediction.table.partition:
        lost = lost_partitions(warehouse, prediction.tables(), unit, partitions)
        if unit == "date":
            lost += tile_problems(warehouse, settings, prediction.tables(), partitions)
        if lost and not messages:
            raise dg.Failure(f"{prediction.name}: {'; '.join(lost)}", allow_retries=False)
    if messages:
        raise dg.Failure(
            f"{prediction.name} needs partitions that are missing: {'; '.join(messages)}. "
            "Materialize them first, or use `batch-predictions run`",
            allow_retries=False,
        )


def _require_empty_upstreams(
    context: dg.AssetExecutionContext,
    prediction: BatchPrediction,
    warehouse: Warehouse,
    partition: str,
) -> None:
    """Fails where there are no rows to score since a view does not find the rows of a file."""
    unit = prediction.table.partition
    assert unit
    unread = unread_partitions(warehouse, prediction.tables(), unit, partition)
    if unread:
        raise dg.Failure(f"{prediction.name} {partition}: {'; '.join(unread)}", allow_retries=False)
    if partition in warehouse.partitions(prediction.table):
        old_rows = count_rows(warehouse.path(prediction.table, partition))
        if old_rows:
            context.log.warning(
                f"{prediction.name} {partition}: the query finds no rows to score; "
                f"{old_rows:,} rows of an earlier run are replaced by none"
            )


def _format_partitions(keys: Sequence[str]) -> str:
    return ", ".join(keys) if len(keys) < 4 else f"{keys[0]} to {keys[-1]} ({len(keys)})"
