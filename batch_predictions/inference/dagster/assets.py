"""The Dagster face of the engine: a declaration becomes a graph of three steps."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import inspect
from collections.abc import Iterator
from typing import Any

import dagster as dg

from batch_predictions.inference.dagster import steps
from batch_predictions.inference.declaration import BatchPrediction, asset_key_of
from batch_predictions.model_store import ModelStore
from batch_predictions.partitions import Partitions
from batch_predictions.reporting import CADENCE, OWNERS, table_metadata
from batch_predictions.settings import Settings
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse

GPU = {
    "dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}},
    "dagster-ray/config": {"num_gpus": 1},
    "dagster-celery/queue": "gpu",
}
"""Tags that send the heavy step, and it alone, to a machine with a GPU."""


def step_tags(settings: Settings) -> dict[str, Any]:
    """Tags of the heavy step: none that ask for a GPU where scorers are to run on the processor, so
    that a cluster without one does not wait for it."""
    return {} if settings.inference.device == "cpu" else GPU


def prediction_asset(
    declared: BatchPrediction, partitions: Partitions, settings: Settings | None = None
) -> dg.AssetsDefinition:
    """A partitioned asset `predictions/<table>` of the steps stage, score and load; `settings` say
    whether the heavy step asks for a GPU and how many weeks lie upstream (None: the defaults).

    Companion tables are assets of the same graph. One scoring makes them all, so whichever is
    selected, all are written and shown as materialized; Dagster would refuse a part of a graph
    that it may not subset, and with it `--select predictions/<table>`.
    """
    name = declared.name
    checks = declared.all_checks
    chosen = settings or Settings()
    ins, tags = declared.upstreams(chosen), step_tags(chosen)
    tables = {"result": declared.table}
    tables |= {f"companion_{name}": each for name, each in declared.child_tables.items()}
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
        return steps.stage(context, declared, warehouse, models, settings)

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
        return steps.score(context, declared, settings, staged)

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
        yield from steps.load(context, declared, warehouse, settings, scored)

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
        partitions_def=partitions.weekly if declared.cadence == "weekly" else partitions.daily,
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
