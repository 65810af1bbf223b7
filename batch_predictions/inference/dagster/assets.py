"""Assets of declared predictions: each is a graph of the steps stage, score and load."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from batch_predictions.inference.base import BatchPrediction, asset_key_of
from batch_predictions.inference.dagster import steps
from batch_predictions.inference.scorer import Scorer
from batch_predictions.models.model_store import ModelStore
from batch_predictions.settings import Settings
from batch_predictions.tables import Table
from batch_predictions.tables.partitions import Partitions
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.reporting import CADENCE, OWNERS, table_metadata
from batch_predictions.warehouse.usual_check import IS_USUAL, usual_check_specs

GPU = {
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
        # Nodes with GPUs keep other pods away by this taint.
        "pod_spec_config": {
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        },
    },
    "dagster-ray/config": {"num_gpus": 1},
    "dagster-celery/queue": "gpu",
}
"""Tags of the scoring step, which launchers send to a machine with a GPU."""


def step_tags(settings: Settings, scorer: type[Scorer]) -> dict[str, object]:
    """Tags of the scoring step: none where the settings say `cpu`, or the scorer uses no GPU.

    A cluster without a GPU would wait for one for ever, and one with GPUs would give them to work
    that leaves them idle. A scorer that only its model can tell of keeps the tags.

    Args:
        settings: `inference.device` decides.
        scorer: the class that scores.
    """
    is_cpu = settings.inference.device == "cpu" or getattr(scorer, "uses_gpu", True) is False
    return {} if is_cpu else GPU


def prediction_asset(
    prediction: BatchPrediction, partitions: Partitions, settings: Settings | None = None
) -> dg.AssetsDefinition:
    """A partitioned asset `predictions/<table>` of the steps stage, score and load.

    Child tables are assets of the same graph. One scoring writes them all: whichever is selected,
    all are written and recorded as materialized. The graph declares `can_subset`, for else Dagster
    refuses `--select predictions/<table>`.

    Args:
        prediction: the declaration.
        partitions: the home's daily and weekly partitions.
        settings: determine whether the scoring step requests a GPU, and how many weeks ahead it
            reads; None: the defaults.
    """
    settings = settings or Settings()
    ins = prediction.upstreams(settings)
    tables = _output_tables(prediction)
    return dg.graph_multi_asset(
        name=prediction.asset_key.to_python_identifier(),
        outs={
            output: dg.AssetOut(
                key=asset_key_of(table),
                dagster_type=dg.Nothing,
                description=_description(prediction, table),
                kinds=set(prediction.kinds),
                owners=OWNERS,
                tags={CADENCE: prediction.cadence},
                metadata=table_metadata(table),
            )
            for output, table in tables.items()
        },
        # The main table's group for child tables too: selecting features must not score.
        group_name=prediction.table.schema,
        partitions_def=partitions.weekly if prediction.cadence == "weekly" else partitions.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=len(tables) > 1,
        ins=ins,
        check_specs=[
            dg.AssetCheckSpec(
                check.name,
                asset=prediction.asset_key,
                description=check.description,
                blocking=True,
            )
            for check in prediction.all_checks
        ]
        + [spec for table in tables.values() for spec in usual_check_specs(table)],
    )(_compose_graph(prediction, list(ins), step_tags(settings, prediction.scorer)))


def _output_tables(prediction: BatchPrediction) -> dict[str, Table]:
    """The main table and its child tables by the name of the graph's output."""
    children = prediction.child_tables.items()
    return {"result": prediction.table, **{f"child_{column}": table for column, table in children}}


def _compose_graph(
    prediction: BatchPrediction, upstreams: list[str], tags: dict[str, object]
) -> Callable[..., dict[str, object]]:
    """The composition function of the graph; `upstreams` are the names of its inputs."""
    stage = _stage_op(prediction, upstreams)
    score = _score_op(prediction, tags)
    load = _load_op(prediction)

    def compose(**inputs: Any) -> dict[str, Any]:
        outputs = load(score(stage(**inputs)))
        prefix = prediction.asset_key.to_python_identifier()
        checks = [check.name for check in prediction.all_checks]
        tables = _output_tables(prediction)
        return {
            **{output: getattr(outputs, output) for output in tables},
            **{f"{prefix}_{check}": getattr(outputs, f"check_{check}") for check in checks},
            **{
                f"{asset_key_of(table).to_python_identifier()}_{IS_USUAL}": getattr(
                    outputs, f"{output}_{IS_USUAL}"
                )
                for output, table in tables.items()
            },
        }

    # Dagster reads a graph's inputs from its signature.
    parameter = inspect.Parameter
    compose.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter(name, parameter.POSITIONAL_OR_KEYWORD) for name in upstreams]
    )
    return compose


def _stage_op(prediction: BatchPrediction, upstreams: list[str]) -> dg.OpDefinition:
    @dg.op(
        name=f"{prediction.name}__stage",
        description="Writes the rows to score as shards, and finds the model that serves the day.",
        ins={upstream: dg.In(dg.Nothing) for upstream in upstreams},
        out=dg.Out(dict, io_manager_key="handles"),
    )
    def stage(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        models: ModelStore,
        settings: dg.ResourceParam[Settings],
    ) -> dict[str, str]:
        return steps.stage(context, prediction, warehouse, models, settings)

    return stage


def _score_op(prediction: BatchPrediction, tags: dict[str, object]) -> dg.OpDefinition:
    @dg.op(
        name=f"{prediction.name}__score",
        description="Scores every shard that has no result yet.",
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
        return steps.score(context, prediction, settings, staged)

    return score


def _load_op(prediction: BatchPrediction) -> dg.OpDefinition:
    tables = _output_tables(prediction)
    checks = [f"check_{check.name}" for check in prediction.all_checks]
    checks += [f"{output}_{IS_USUAL}" for output in tables]

    @dg.op(
        name=f"{prediction.name}__load",
        description="Validates the results and replaces the partition.",
        ins={"scored": dg.In(dict)},
        # With child tables a selection may leave outputs out.
        out={out: dg.Out(dg.Nothing, is_required=len(tables) == 1) for out in (*tables, *checks)},
    )
    def load(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
        scored: dict[str, str],
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        yield from steps.load(context, prediction, warehouse, settings, scored)

    return load


def _description(prediction: BatchPrediction, table: Table) -> str:
    if table is not prediction.table:
        return f"{table.description}\n\nWritten by the scoring of {prediction.table.qualified}."
    doc = inspect.getdoc(prediction.scorer) or ""
    key = ", ".join(prediction.key)
    return f"{table.description}\n\nOne key: {key}. {doc}"
