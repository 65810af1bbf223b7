"""Weekly trainings as Dagster assets: fit, evaluate against baselines, decide, store.

A training reads rows through its week's Sunday. Its model is stored even if it does not serve: the
gate's decision names the version that serves from that Sunday on.
"""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from batch_predictions.models.model_card import model_card
from batch_predictions.models.model_store import Decision, ModelStore
from batch_predictions.models.training import Trained, Training, data_version, publish
from batch_predictions.models.training_inputs import TrainingInputs
from batch_predictions.settings import Settings
from batch_predictions.tables.partitions import Partitions, trained_through
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.plot_style import BASELINE, REFERENCE, SERVED, new_axes
from batch_predictions.warehouse.plugin_queries import warehouse_of_declaration
from batch_predictions.warehouse.reporting import (
    CONTENT_HASH,
    OWNERS,
    figure_metadata,
    markdown,
    set_data_version,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_DECISIONS = 8
"""Newest decisions that the metadata of a training shows."""


def training_asset(
    training: Training, partitions: Partitions, settings: Settings | None = None
) -> dg.AssetsDefinition:
    """A weekly asset `models/<name>` that fits, evaluates, decides and stores.

    Args:
        training: the declaration.
        partitions: of the home.
        settings: determine which node its step requests; None: any.
    """

    @dg.asset(
        name=training.name,
        key_prefix="models",
        description=training.description,
        group_name="models",
        kinds=set(training.kinds),
        owners=OWNERS,
        partitions_def=partitions.weekly,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[
            dg.AssetKey([table.schema, table.name])
            for table in (*training.tables, *training.extra_tables)
        ],
        pool="training",
        op_tags=settings.execution.large_step_tags() if settings else None,
    )
    def model(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        models: ModelStore,
        settings: dg.ResourceParam[Settings],
    ) -> None:
        versions, inputs = {}, TrainingInputs.of(training, settings)
        training_warehouse = warehouse_of_declaration(warehouse, training)
        for week in context.partition_keys:
            through = trained_through(as_date(week))
            trained = training.train(training_warehouse, settings, through, context.log.info)
            data = data_version(
                warehouse, through, training.tables, training.history_days(settings)
            )
            decision = publish(
                training.name,
                trained,
                through,
                models,
                warehouse,
                data,
                inputs.code,
                inputs.settings,
            )
            done = f"{training.name} through {through}: {decision.decision}"
            context.log.info(f"{done}. {decision.why}")
            metadata = _metadata(trained, decision, models.decisions(training.name))
            versions[week] = metadata[CONTENT_HASH] = decision.version
            metadata["card"] = _card(settings, training, through)
            context.add_asset_metadata(metadata, partition_key=week)
        set_data_version(context, versions[max(versions)])

    return model


def _card(settings: Settings, training: Training, through: dt.date) -> dg.MetadataValue[Any]:
    """The card of the version that serves after a training."""
    return dg.MetadataValue.md(model_card(settings, training, through).as_markdown())


def serving_versions(decisions: Sequence[Decision]) -> str:
    """The newest decisions as a Markdown table: which version serves from the end of which day."""
    rows = [
        (str(decision.effective_from), decision.version, decision.decision)
        for decision in reversed(decisions[-SHOWN_DECISIONS:])
    ]
    return markdown(["serves from", "version", "decision"], rows)


def _metadata(
    trained: Trained, decision: Decision, decisions: Sequence[Decision]
) -> dict[str, object]:
    names = ["candidate", "metric", "value", "lower", "upper", "n"]
    rows = [tuple(row.get(name) for name in names) for row in trained.metrics]
    metadata: dict[str, object] = {
        "model_version": decision.version,
        "decision": decision.decision,
        "why": decision.why,
        "serving_versions": dg.MetadataValue.md(serving_versions(decisions)),
        "metrics": dg.MetadataValue.md(markdown(names, rows)),
    }
    figures = {name: draw() for name, draw in training_plots(trained).items()}
    metadata.update(
        {name: figure_metadata(figure) for name, figure in figures.items() if figure is not None}
    )
    return metadata


def training_plots(trained: Trained) -> dict[str, Callable[[], "Figure | None"]]:
    """Functions that draw the plots of a training, by name: its candidates, then its own."""
    return {
        "plot": lambda: plot_metric(
            trained.metrics,
            trained.plotted,
            trained.candidate,
            lower_is_better=trained.lower_is_better,
        ),
        **trained.figures,
    }


def plot_metric(
    metrics: Sequence[Mapping[str, Any]],
    metric: str,
    serving: str | None = None,
    *,
    lower_is_better: bool = False,
) -> "Figure | None":
    """Draws a metric of every candidate with its interval, best on top, the serving one in blue.

    Args:
        metrics: rows of `evaluation.model_metrics`.
        metric: to draw.
        serving: name of the candidate that serves.
        lower_is_better: whether the metric is an error.
    """
    rows = sorted(
        (row for row in metrics if row["metric"] == metric and row["value"] is not None),
        key=lambda row: float(row["value"]),
        reverse=not lower_is_better,
    )
    if not rows:
        return None
    figure, ax = new_axes(
        f"Candidates and baselines, n = {rows[0]['n']:,}; blue serves",
        f"{metric}, with 95 % intervals",
        rows=[str(row["candidate"]) for row in rows],
    )
    for y, row in enumerate(rows):
        colour = SERVED if row["candidate"] == serving else BASELINE
        ax.barh(y, row["value"], color=colour, height=0.6)
        if row["lower"] is not None and row["upper"] is not None:
            ax.plot([row["lower"], row["upper"]], [y, y], color=REFERENCE, linewidth=1.2)
    return figure
