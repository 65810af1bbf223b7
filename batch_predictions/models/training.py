"""Declarations of models that are trained every week, and the results of their trainings."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from batch_predictions.models.common.promotion_gate import GateResult
from batch_predictions.models.common.ranking_metrics import NDCG
from batch_predictions.models.model_store import Decision, ModelStore, Verdict
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    INTERACTIONS,
    ITEMS,
    MODEL_METRICS,
    PROMOTIONS_LOG,
    USERS,
    Table,
)
from batch_predictions.tables.discovery import index_unique, instances
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.arrow_rows import arrow_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Trained:
    """The result of a training, before it is stored.

    Attributes:
        write: writes the model's files into a folder.
        candidate: the candidate that serves, or the best baseline.
        beats_baseline: whether it passed the gate.
        parameters: JSON values that the model was trained with.
        why: the gate's decision in a sentence.
        metrics: rows of `evaluation.model_metrics`.
        plotted: the metric of the plot.
        lower_is_better: whether that metric is an error.
        figures: functions that draw further plots, by name.
    """

    write: Callable[[Path], None]
    candidate: str
    beats_baseline: bool
    parameters: dict[str, Any]
    why: str
    metrics: list[dict[str, Any]]
    plotted: str = NDCG
    lower_is_better: bool = False
    figures: Mapping[str, Callable[[], Figure | None]] = field(default_factory=dict)

    @classmethod
    def from_gate(
        cls,
        gate: GateResult,
        write: Callable[[Path], None],
        parameters: Mapping[str, Any] | None = None,
    ) -> Trained:
        """The result of a training whose candidate `paired_gate` selected.

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
            lower_is_better=gate.lower_is_better,
        )


Train: TypeAlias = Callable[[Warehouse, Settings, dt.date, Callable[[str], None]], Trained]


def _history_days(settings: Settings) -> int:
    return settings.recommender.history_days


@dataclass(frozen=True)
class Training:
    """A model that is trained every week.

    Attributes:
        name: the model's name, in `model_version`s, settings and the asset `models/<name>`.
        description: of the asset, for the UI.
        train: fits on rows through a day and evaluates against baselines.
        tables: daily raw tables that it reads; it is trained again when their rows change.
        extra_tables: further tables that it reads, for lineage.
        kinds: badges in the UI.
        history_days: days of `tables` that it reads, the training's last day included.
        inputs: JSON values by name that it depends on besides rows, code and settings.
    """

    name: str
    description: str
    train: Train
    tables: tuple[Table, ...] = (INTERACTIONS,)
    extra_tables: tuple[Table, ...] = (ITEMS, USERS)
    kinds: frozenset[str] = frozenset({"python", "numpy"})
    history_days: Callable[[Settings], int] = _history_days
    inputs: Mapping[str, Any] = field(default_factory=dict)


def trainings() -> dict[str, Training]:
    """Every declared training by name, those of plugins included.

    Raises:
        ValueError: two trainings have one name.
    """
    return index_unique(instances(Training, "models/*/assets.py"), "trainings")


def publish(
    name: str,
    trained: Trained,
    through: dt.date,
    models: ModelStore,
    warehouse: Warehouse,
    data: str,
    code: str = "",
    settings: Mapping[str, object] | None = None,
) -> Decision:
    """Stores a trained model with its metrics, and decides which version serves from now on.

    Args:
        name: of the model.
        trained: the result of its training.
        through: the training's last day, from which the decision holds.
        models: the model store.
        warehouse: for the metrics and the log of decisions.
        data: `data_version` of the training's rows.
        code: hash of the training's code.
        settings: those that the training read.
    """
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
        previous = _previous_champion(name, models, through)
        if previous:
            verdict, version = "kept", previous
            why = f"{previous} stays: {why}"
    decision = Decision(
        model=name,
        version=version,
        effective_from=through,
        decision=verdict,
        why=why,
        data_version=data,
        code=code,
        settings=dict(settings or {}),
    )
    part = {"model": name, "trained_through": through.isoformat()}
    rows = arrow_rows(MODEL_METRICS, trained.metrics)
    warehouse.replace_partition(MODEL_METRICS, None, rows, part=part)
    _write_log(warehouse, decision)
    models.decide(decision)
    return decision


def data_version(warehouse: Warehouse, through: dt.date, tables: Sequence[Table], days: int) -> str:
    """A hash of the raw rows that a training reads; equal rows have equal hashes.

    Args:
        warehouse: of the raw tables.
        through: the training's last day.
        tables: daily raw tables.
        days: number of days that it reads.
    """
    first = (through - dt.timedelta(days=days - 1)).isoformat()
    digest = hashlib.sha256()
    for table in tables:
        keys = [key for key in warehouse.partitions(table) if first <= key <= through.isoformat()]
        for day, content in warehouse.digests(table).of_partitions(keys).items():
            digest.update(f"{table.name} {day}{content}".encode())
    return digest.hexdigest()[:16]


def _previous_champion(name: str, models: ModelStore, through: dt.date) -> str | None:
    """The version that served the day before, if it was promoted for beating its baselines."""
    decisions = [d for d in models.decisions(name) if d.effective_from < through]
    if not decisions:
        return None
    version = decisions[-1].version
    promoted = {d.version for d in decisions if d.decision == "promoted"}
    return version if version in promoted else None


def _write_log(warehouse: Warehouse, decision: Decision) -> None:
    """Writes a decision, one file each, and removes that of an earlier run of the training."""
    for verdict in ("promoted", "baseline", "kept"):
        part = {"model": decision.model, "trained_through": str(decision.effective_from)}
        if verdict != decision.decision:
            warehouse.remove_partition(PROMOTIONS_LOG, None, part={**part, "decision": verdict})
    log_decision(warehouse, decision)


def restore_log(models: ModelStore, warehouse: Warehouse, part: Mapping[str, str]) -> None:
    """Writes a lost row of `evaluation.promotions_log` again, from the decision.

    Args:
        models: the model store.
        warehouse: for the log of decisions.
        part: the lost row's model, trained_through and decision.
    """
    for decision in models.decisions(part["model"]):
        is_wanted = str(decision.effective_from) == part["trained_through"]
        if is_wanted and decision.decision == part["decision"]:
            log_decision(warehouse, decision)


def log_decision(
    warehouse: Warehouse, decision: Decision, decided_at: dt.datetime | None = None
) -> None:
    """Writes a decision to `evaluation.promotions_log`.

    Args:
        warehouse: receives the row.
        decision: which version serves from the end of which day.
        decided_at: time of the decision, UTC; None: the end of that day, as of a training, so that
            a re-run writes the same row.
    """
    end_of_day = dt.datetime.combine(decision.effective_from + dt.timedelta(days=1), dt.time())
    warehouse.replace_partition(
        PROMOTIONS_LOG,
        None,
        "select $decided_at::TIMESTAMP as decided_at, $version::VARCHAR as model_version, "
        "$why::VARCHAR as why",
        {"decided_at": decided_at or end_of_day, "version": decision.version, "why": decision.why},
        part={
            "model": decision.model,
            "trained_through": str(decision.effective_from),
            "decision": decision.decision,
        },
    )
