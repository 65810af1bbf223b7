"""The Dagster face of the engine: a declaration becomes a graph of three steps."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import inspect
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from batch_predictions.inference import engine, loading, staging
from batch_predictions.inference.declaration import BatchPrediction, asset_key_of
from batch_predictions.inference.loading import ACCOUNTED, Judgement
from batch_predictions.inference.scorer import name_of
from batch_predictions.model_store import ModelError, ModelStore
from batch_predictions.partitions import week_due
from batch_predictions.reporting import CADENCE, OWNERS, record, table_metadata
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES, Table
from batch_predictions.warehouse import Warehouse, as_date

GPU = {
    "dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}},
    "dagster-ray/config": {"num_gpus": 1},
    "dagster-celery/queue": "gpu",
}
"""Tags that send the heavy step, and it alone, to a machine with a GPU."""

RULES = "rules"
"""Begins the version of predictions that have no model."""

SECONDS_BETWEEN_LINES = 10.0


def step_tags(settings: Settings) -> dict[str, Any]:
    """Tags of the heavy step: none that ask for a GPU where scorers are to run on the processor, so
    that a cluster without one does not wait for it."""
    return {} if settings.inference.device == "cpu" else GPU


def prediction_asset(
    declared: BatchPrediction, tags: Mapping[str, Any] = GPU
) -> dg.AssetsDefinition:
    """A partitioned asset `predictions/<table>` of the steps stage, score and load; `tags` are the
    heavy step's.

    Companion tables are assets of the same graph. One scoring makes them all, so whichever is
    selected, all are written and shown as materialized; Dagster would refuse a part of a graph
    that it may not subset, and with it `--select predictions/<table>`.
    """
    name = declared.name
    checks = declared.all_checks
    ins = declared.upstreams()
    tables = {"result": declared.table}
    tables |= {f"companion_{name}": each for name, each in declared.companions.items()}
    several = len(tables) > 1

    @dg.op(
        name=f"{name}__stage",
        description="Writes the rows to score as shards, with the model that is due.",
        ins={each: dg.In(dg.Nothing) for each in ins},
        out=dg.Out(dict, io_manager_key="handles"),
    )
    def stage(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        models: ModelStore,
        settings: dg.ResourceParam[Settings],
    ) -> dict[str, str]:
        return _stage(context, declared, warehouse, models, settings)

    @dg.op(
        name=f"{name}__score",
        description="Sends every shard that has no result yet through the model.",
        ins={"staged": dg.In(dict)},
        out=dg.Out(dict, io_manager_key="handles"),
        pool="gpu",
        tags=tags,
    )
    def score(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        staged: dict[str, str],
    ) -> dict[str, str]:
        return _score(context, declared, settings, staged)

    @dg.op(
        name=f"{name}__load",
        description="Counts that no key was lost, asks the checks, replaces the partition.",
        ins={"scored": dg.In(dict)},
        out={
            each: dg.Out(dg.Nothing, is_required=not several)
            for each in (*tables, *(f"check_{check.name}" for check in checks))
        },
    )
    def load(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
        scored: dict[str, str],
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        yield from _load(context, declared, warehouse, settings, scored)

    def compose(**upstream: Any) -> dict[str, Any]:
        results = load(score(stage(**upstream)))
        prefix = declared.asset_key.to_python_identifier()
        return {
            **{output: getattr(results, output) for output in tables},
            **{f"{prefix}_{c.name}": getattr(results, f"check_{c.name}") for c in checks},
        }

    # Dagster reads a graph's inputs from its signature; this one's come from the declaration.
    parameter = inspect.Parameter
    compose.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter(each, parameter.POSITIONAL_OR_KEYWORD) for each in ins]
    )
    return dg.graph_multi_asset(
        name=declared.asset_key.to_python_identifier(),
        outs={
            output: dg.AssetOut(
                key=asset_key_of(table),
                dagster_type=dg.Nothing,
                description=_description(declared, table),
                kinds=set(declared.kinds),
                owners=OWNERS,
                tags={CADENCE: declared.cadence},
                metadata=table_metadata(table),
            )
            for output, table in tables.items()
        },
        # The main table's, wherever the companion's rows lie: features alone never score.
        group_name=declared.table.schema,
        partitions_def=declared.partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=several,
        ins=ins,
        check_specs=[
            dg.AssetCheckSpec(
                check.name,
                asset=declared.asset_key,
                description=check.description,
                blocking=True,
            )
            for check in checks
        ],
    )(compose)


def _description(declared: BatchPrediction, table: Table) -> str:
    if table is not declared.table:
        return f"{table.description}\n\nKept by the scoring of {declared.table.qualified}."
    doc = inspect.getdoc(declared.scorer) or ""
    key = ", ".join(declared.key)
    return f"{table.description}\n\nOne key: {key}. {doc}"


def _stage(
    context: dg.AssetExecutionContext,
    declared: BatchPrediction,
    warehouse: Warehouse,
    models: ModelStore,
    settings: Settings,
) -> dict[str, str]:
    staging.sweep(engine_folder(settings), settings.inference.keep_days)
    _require_upstreams(declared, warehouse, context.partition_keys)
    handles, untrained = {}, []
    for partition in context.partition_keys:
        try:
            path = stage_partition(declared, partition, warehouse, models, settings)
        except ModelError as error:
            untrained.append(str(error))
            continue
        manifest = staging.Manifest.read(path)
        context.log.info(
            f"{declared.name} {partition}: {manifest.rows:,} rows to score in "
            f"{len(manifest.shards)} shards, model {manifest.model_version}"
        )
        handles[partition] = str(path)
    if untrained:
        # All days at once: in a range, one would otherwise learn of them a run at a time.
        raise dg.Failure("; ".join(untrained), allow_retries=False)
    return handles


def stage_partition(
    declared: BatchPrediction,
    partition: str,
    warehouse: Warehouse,
    models: ModelStore,
    settings: Settings,
) -> Path:
    """Stages one partition with the model that is due; the manifest's path.

    Raises:
        ModelError: no model is due, or it is too old.
    """
    model, version, place, learned = _model_due(declared, partition, models, settings)
    return staging.stage(
        warehouse,
        engine_folder(settings),
        table=declared.table,
        partition=partition,
        rows=declared.rows,
        side=declared.side,
        key=declared.key,
        sql_parameters={**sql_parameters(declared, partition, settings), **learned},
        scorer=name_of(declared.scorer),
        scorer_version=declared.scorer.version,
        parameters=dict(declared.parameters(settings)),
        model=model,
        model_version=version,
        model_folder=place,
        shard_rows=settings.inference.shard_rows,
        shard_mb=settings.inference.shard_mb,
        companions=declared.companions,
    )


def _score(
    context: dg.AssetExecutionContext,
    declared: BatchPrediction,
    settings: Settings,
    staged: Mapping[str, str],
) -> dict[str, str]:
    for partition, path in staged.items():
        lines = _Lines(context, f"{declared.name} {partition}")
        done = engine.score(Path(path), settings.inference, lines)
        what = f"nothing to score, all {done.kept:,} results were kept"
        if done.scored:
            what = (
                f"{done.scored:,} rows scored in {done.seconds:.1f} s "
                f"({done.scored / done.seconds:,.0f} rows/s, {done.instances} instances on "
                f"{done.device}), {done.kept:,} kept from before"
                + (f", {done.retried} shards tried again" if done.retried else "")
            )
        context.log.info(f"{declared.name} {partition}: {what}")
    return dict(staged)


def _load(
    context: dg.AssetExecutionContext,
    declared: BatchPrediction,
    warehouse: Warehouse,
    settings: Settings,
    scored: Mapping[str, str],
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    judgements = [
        loading.judge(
            warehouse,
            declared.table,
            Path(path),
            declared.checks,
            sql_parameters(declared, partition, settings),
            declared.companions,
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
        partition: loading.load(warehouse, declared.table, Path(path), declared.companions)
        for partition, path in scored.items()
    }
    for companion in declared.companions.values():
        key = asset_key_of(companion)
        beside = {day: each.companions[companion.qualified] for day, each in loaded.items()}
        record(context, warehouse, beside, asset_key=key)
        if key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=key)
    record(
        context,
        warehouse,
        {partition: each.main for partition, each in loaded.items()},
        extra={each.partition: _accounting(each, scored) for each in judgements},
        plot=lambda: declared.plot(warehouse, max(loaded)) if declared.plot else None,
        asset_key=declared.asset_key,
    )
    if declared.asset_key in context.selected_asset_keys:
        yield dg.MaterializeResult(asset_key=declared.asset_key, check_results=results)


def engine_folder(settings: Settings) -> Path:
    """Where stages and results are kept: `<home>/inference`."""
    return settings.home / "inference"


def sql_parameters(declared: BatchPrediction, partition: str, settings: Settings) -> dict[str, Any]:
    """What a declaration's SQL may name: `$date` or `$week`, and its parameters."""
    parameters = dict(declared.parameters(settings))
    return {**parameters, str(declared.table.partition): as_date(partition)}


def _model_due(
    declared: BatchPrediction, partition: str, models: ModelStore, settings: Settings
) -> tuple[str | None, str, Path | None, dict[str, Any]]:
    """Model, version and folder of what serves a partition, and what SQL may bind of it."""
    if declared.model is None:
        return None, f"{RULES}-{declared.scorer.version}", None, {}
    day = declared.as_of(partition)
    manifest = models.champion(
        declared.model, day, settings.recommender.max_age_days, week_due(day)
    )
    folder = models.verified_folder(declared.model, manifest.version)
    learned = {f"model_{name}": value for name, value in manifest.parameters.items()}
    return declared.model, manifest.version, folder, learned


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
    declared: BatchPrediction, check: loading.Check, judgements: Sequence[Judgement]
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


def _accounting(judgement: Judgement, scored: Mapping[str, str]) -> dict[str, Any]:
    manifest = staging.Manifest.read(Path(scored[judgement.partition]))
    return {
        "keys_eligible": judgement.staged,
        "keys_scored": judgement.scored,
        "keys_excluded": judgement.excluded,
        "model_version": manifest.model_version,
    }


class _Lines:
    """Progress as log lines at a human pace: rows, rows per second, time left."""

    def __init__(self, context: dg.AssetExecutionContext, what: str) -> None:
        self.context, self.what = context, what
        self.began = self.spoke = time.perf_counter()

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
