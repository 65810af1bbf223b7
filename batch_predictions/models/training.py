"""Weekly training as Dagster assets: fit, measure against baselines, decide, store.

A training knows everything through its week's Sunday. What it learns is stored whether or not it
serves: the gate's decision says which version serves the days from that Sunday on.
"""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from batch_predictions.discovery import instances
from batch_predictions.model_store import Decision, ModelStore, Verdict
from batch_predictions.models.common.gate import GateResult
from batch_predictions.models.common.ranking_metrics import NDCG
from batch_predictions.partitions import Partitions, trained_through
from batch_predictions.reporting import OWNERS, figure_metadata, markdown, new_axes
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    INTERACTIONS,
    ITEMS,
    MODEL_METRICS,
    PROMOTIONS_LOG,
    USERS,
    Table,
)
from batch_predictions.warehouse import Warehouse, as_date

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Trained:
    """What one training learned, measured and decided, before anything is stored."""

    write: Callable[[Path], None]
    candidate: str
    beats_baseline: bool
    parameters: dict[str, Any]
    why: str
    metrics: list[dict[str, Any]]
    plotted: str = NDCG
    """The metric that is drawn, every candidate with its interval."""
    lowest_is_best: bool = False
    """Whether the plotted metric is an error."""
    figures: "Mapping[str, Callable[[], Figure | None]]" = field(default_factory=dict)
    """Further plots by name, drawn once, when the training is shown."""

    @classmethod
    def from_gate(
        cls,
        gate: GateResult,
        write: Callable[[Path], None],
        parameters: Mapping[str, Any] | None = None,
    ) -> "Trained":
        """A training whose candidate `paired_gate` chose.

        Args:
            gate: the decision, with the metrics of all candidates.
            write: writes the model's files into a folder.
            parameters: JSON values that the model was trained with; SQL binds them as
                `$model_<name>`.
        """
        return cls(
            write=write,
            candidate=gate.serving,
            beats_baseline=gate.beats_baseline,
            parameters=dict(parameters or {}),
            why=gate.why,
            metrics=[dict(row) for row in gate.metrics],
            plotted=gate.metric,
            lowest_is_best=gate.lower_is_better,
        )


Train = Callable[[Warehouse, Settings, dt.date, Callable[[str], None]], Trained]


def _history_days(settings: Settings) -> int:
    return settings.recommender.history_days


@dataclass(frozen=True)
class Training:
    """A model that is trained every week: what it learns from, and how.

    Attributes:
        name: the model's name, in `model_version`s, settings and the asset `models/<name>`.
        description: what it learns, for the UI.
        train: fits on what is known through a day, and measures against baselines.
        tables: daily raw tables that it learns from; it is trained again when their rows change.
        extra_tables: further tables that it reads, for lineage.
        kinds: badges in the UI.
        history_days: days of `tables` that it reads, the training's last day included.
    """

    name: str
    description: str
    train: Train
    tables: tuple[Table, ...] = (INTERACTIONS,)
    extra_tables: tuple[Table, ...] = (ITEMS, USERS)
    kinds: frozenset[str] = frozenset({"python", "numpy"})
    history_days: Callable[[Settings], int] = _history_days


def trainings() -> dict[str, Training]:
    """Every declared training by name, those of plugins included.

    Raises:
        ValueError: two trainings have one name.
    """
    found: dict[str, Training] = {}
    for training in instances(Training, "models/*/assets.py"):
        if found.setdefault(training.name, training) is not training:
            raise ValueError(f"two trainings are named {training.name}: rename one")
    return found


def training_asset(training: Training, partitions: Partitions) -> dg.AssetsDefinition:
    """A weekly asset `models/<name>` that trains, measures, decides and stores."""

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
    )
    def model(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        models: ModelStore,
        settings: dg.ResourceParam[Settings],
    ) -> None:
        for week in context.partition_keys:
            through = trained_through(as_date(week))
            trained = training.train(warehouse, settings, through, context.log.info)
            data = data_version(
                warehouse, through, training.tables, training.history_days(settings)
            )
            decision = publish(training.name, trained, through, models, warehouse, data)
            context.log.info(
                f"{training.name} through {through}: {decision.decision}. {decision.why}"
            )
            context.add_asset_metadata(_metadata(trained, decision), partition_key=week)

    return model


def publish(
    name: str,
    trained: Trained,
    through: dt.date,
    models: ModelStore,
    warehouse: Warehouse,
    data: str,
) -> Decision:
    """Stores a trained model with its metrics and decides which version serves from now on."""
    manifest = models.save(
        name,
        through,
        trained.write,
        candidate=trained.candidate,
        parameters=trained.parameters,
        data_version=data,
    )
    verdict: Verdict = "promoted" if trained.beats_baseline else "baseline"
    version, why = manifest.version, trained.why
    if not trained.beats_baseline:
        before = _learned_before(name, models, through)
        if before:
            verdict, version = "kept", before
            why = f"{before} stays: {why}"
    decision = Decision(
        model=name,
        version=version,
        effective_from=through,
        decision=verdict,
        why=why,
        data_version=data,
    )
    _write_metrics(warehouse, name, through, trained.metrics)
    _write_log(warehouse, decision)
    models.decide(decision)
    return decision


def data_version(warehouse: Warehouse, through: dt.date, tables: Sequence[Table], days: int) -> str:
    """A hash of the raw rows that a training reads; equal rows have equal hashes.

    Args:
        warehouse: of the raw tables.
        through: the training's last day.
        tables: daily raw tables.
        days: how many days it reads.
    """
    first = (through - dt.timedelta(days=days - 1)).isoformat()
    digest = hashlib.sha256()
    for table in tables:
        for day in warehouse.partitions(table):
            if first <= day <= through.isoformat():
                digest.update(f"{table.name} {day}".encode())
                digest.update(warehouse.path(table, day).read_bytes())
    return digest.hexdigest()[:16]


def _learned_before(name: str, models: ModelStore, through: dt.date) -> str | None:
    """The version that served the day before, where it was better than its baselines."""
    served = [each for each in models.decisions(name) if each.effective_from < through]
    if not served:
        return None
    version = served[-1].version
    promoted = {each.version for each in served if each.decision == "promoted"}
    return version if version in promoted else None


def _write_metrics(
    warehouse: Warehouse, name: str, through: dt.date, metrics: Sequence[Mapping[str, Any]]
) -> None:
    part = {"model": name, "trained_through": through.isoformat()}
    schema = pa.schema(
        [
            ("candidate", pa.string()),
            ("metric", pa.string()),
            *((column, pa.float64()) for column in ("value", "lower", "upper")),
            ("n", pa.int64()),
        ]
    )
    rows = pa.Table.from_pylist([dict(row) for row in metrics], schema)
    warehouse.replace_partition(MODEL_METRICS, None, rows, part=part)


def _write_log(warehouse: Warehouse, decision: Decision) -> None:
    """One file per decision; a training that is run again replaces its own."""
    for verdict in ("promoted", "baseline", "kept"):
        part = {"model": decision.model, "trained_through": str(decision.effective_from)}
        if verdict != decision.decision:
            warehouse.remove_partition(PROMOTIONS_LOG, None, part={**part, "decision": verdict})
    log_decision(
        warehouse,
        decision,
        # A training takes effect when its week ends, whenever it was run: a re-run logs the same.
        dt.datetime.combine(decision.effective_from + dt.timedelta(days=1), dt.time()),
    )


def log_decision(warehouse: Warehouse, decision: Decision, decided_at: dt.datetime) -> None:
    """Writes a decision to `evaluation.promotions_log`; `decided_at` is UTC."""
    warehouse.replace_partition(
        PROMOTIONS_LOG,
        None,
        "select $decided_at::TIMESTAMP as decided_at, $version::VARCHAR as model_version, "
        "$why::VARCHAR as why",
        {"decided_at": decided_at, "version": decision.version, "why": decision.why},
        part={
            "model": decision.model,
            "trained_through": str(decision.effective_from),
            "decision": decision.decision,
        },
    )


def _metadata(trained: Trained, decision: Decision) -> dict[str, Any]:
    names = ["candidate", "metric", "value", "lower", "upper", "n"]
    rows = [tuple(row.get(name) for name in names) for row in trained.metrics]
    metadata: dict[str, Any] = {
        "model_version": decision.version,
        "decision": decision.decision,
        "why": decision.why,
        "metrics": dg.MetadataValue.md(markdown(names, rows)),
    }
    drawn: dict[str, Figure | None] = {
        "plot": plot(
            trained.metrics, trained.plotted, trained.candidate, lowest=trained.lowest_is_best
        ),
        **{name: draw() for name, draw in trained.figures.items()},
    }
    metadata.update(
        {name: figure_metadata(figure) for name, figure in drawn.items() if figure is not None}
    )
    return metadata


def plot(
    metrics: Sequence[Mapping[str, Any]],
    metric: str,
    chosen: str | None = None,
    *,
    lowest: bool = False,
) -> "Figure | None":
    """Every candidate's figure with its interval, the best on top and the chosen one in blue."""
    rows = sorted(
        (row for row in metrics if row["metric"] == metric and row["value"] is not None),
        key=lambda row: float(row["value"]),
        reverse=lowest,
    )
    if not rows:
        return None
    figure, ax = new_axes(f"{metric} on the hold-out, 95 % intervals (n = {rows[0]['n']:,})")
    for place, row in enumerate(rows):
        colour = "#4c78a8" if row["candidate"] == chosen else "#bab0ac"
        ax.barh(place, row["value"], color=colour, height=0.6)
        if row["lower"] is not None and row["upper"] is not None:
            ax.plot([row["lower"], row["upper"]], [place, place], color="#333333", linewidth=1.2)
    ax.set_yticks(range(len(rows)), [str(row["candidate"]) for row in rows])
    return figure
