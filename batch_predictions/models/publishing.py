"""Stores trained models with their metrics and the gate's decisions."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence

from batch_predictions.models.model_store import Decision, ModelStore, Verdict
from batch_predictions.models.training import Trained
from batch_predictions.tables import MODEL_METRICS, PROMOTIONS_LOG, Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.arrow_rows import arrow_rows


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
        code: `code_version` of the training.
        settings: `settings_read` of the training.
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
        days: number of days that it reads.
    """
    first = (through - dt.timedelta(days=days - 1)).isoformat()
    digest = hashlib.sha256()
    for table in tables:
        for day in warehouse.partitions(table):
            if first <= day <= through.isoformat():
                digest.update(f"{table.name} {day}".encode())
                digest.update(warehouse.path(table, day).read_bytes())
    return digest.hexdigest()[:16]


def _previous_champion(name: str, models: ModelStore, through: dt.date) -> str | None:
    """The version that served the day before, if it was promoted for beating its baselines."""
    decisions = [d for d in models.decisions(name) if d.effective_from < through]
    if not decisions:
        return None
    version = decisions[-1].version
    promoted = {d.version for d in decisions if d.decision == "promoted"}
    return version if version in promoted else None


def _write_metrics(
    warehouse: Warehouse, name: str, through: dt.date, metrics: Sequence[Mapping[str, object]]
) -> None:
    part = {"model": name, "trained_through": through.isoformat()}
    rows = arrow_rows(MODEL_METRICS, metrics)
    warehouse.replace_partition(MODEL_METRICS, None, rows, part=part)


def _write_log(warehouse: Warehouse, decision: Decision) -> None:
    """Writes a decision, one file each, and removes that of an earlier run of the training."""
    for verdict in ("promoted", "baseline", "kept"):
        part = {"model": decision.model, "trained_through": str(decision.effective_from)}
        if verdict != decision.decision:
            warehouse.remove_partition(PROMOTIONS_LOG, None, part={**part, "decision": verdict})
    log_decision(
        warehouse,
        decision,
        # The time is the end of the week, not now, so that a re-run writes the same row.
        dt.datetime.combine(decision.effective_from + dt.timedelta(days=1), dt.time()),
    )


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
            day_after = decision.effective_from + dt.timedelta(days=1)
            log_decision(warehouse, decision, dt.datetime.combine(day_after, dt.time()))


def log_decision(warehouse: Warehouse, decision: Decision, decided_at: dt.datetime) -> None:
    """Writes a decision to `evaluation.promotions_log`.

    Args:
        warehouse: receives the row.
        decision: which version serves from the end of which day.
        decided_at: time of the decision, UTC.
    """
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
