"""A platform of one model and two predictions on a shop of a few rows."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import dagster as dg
import pyarrow as pa
import pytest

from batch_predictions.evaluation.realized_metric import RealizedMetric
from batch_predictions.features.base import FeatureTable
from batch_predictions.inference import scorer_code
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import ScorerContext
from batch_predictions.models.training import Trained, Training
from batch_predictions.orchestration import planner, stale
from batch_predictions.settings import Settings
from batch_predictions.sources.base import INGESTED_TABLES
from batch_predictions.tables import TABLES, Table, columns, declare
from batch_predictions.tables.base import PartitionColumn
from batch_predictions.tables.partitions import Partitions
from batch_predictions.warehouse import Warehouse

USERS = 4
faults: set[str] = set()
"""What fails, until a test takes it out: training, daily, weekly, NaN, histograms, drift."""


def _table(name: str, partition: PartitionColumn) -> Table:
    return Table(
        "predictions",
        name,
        "How often every item was bought, times the model's factor.",
        columns(f"""
            {partition} DATE: partition
            item_id VARCHAR: item
            score DOUBLE: score
            model_version VARCHAR: model that scored it
        """),
        key=("item_id",),
        partition=partition,
    )


DAILY, WEEKLY = _table("tiny_days", "date"), _table("tiny_weeks", "week")


class TinyScorer:
    """Counts times the model's number of rows."""

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, rows: int, fault: str) -> None:
        self.rows, self.fault = rows, fault

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        assert context.model is not None
        rows = json.loads((context.model / "rows.json").read_text(encoding="utf-8"))
        return cls(rows, str(context.parameters["fault"]))

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        if self.fault in faults:
            raise ValueError(f"a fault of {self.fault}")
        scores = [float(n * self.rows) for n in rows["n"].to_pylist()]
        if "NaN" in faults and self.fault == "daily":
            scores[0] = math.nan
        return pa.RecordBatch.from_pydict({"item_id": rows["item_id"], "score": scores})


def _prediction(table: Table, last: str, fault: str) -> BatchPrediction:
    return BatchPrediction(
        table=table,
        key=("item_id",),
        rows=f"""select item_id, count(*) as n from raw.interactions
            where date <= {last} group by item_id""",
        scorer=TinyScorer,
        model="tiny",
        parameters=lambda _: {"fault": fault},
    )


PREDICTIONS = [
    _prediction(DAILY, "$date", "daily"),
    _prediction(WEEKLY, "$week + interval 6 days", "weekly"),
]


def _train(warehouse: Warehouse, settings: Settings, through: dt.date, log: object) -> Trained:
    if "training" in faults:
        raise ValueError("a fault of training")
    rows = warehouse.value(
        "select count(*) from raw.interactions where date <= $through", {"through": through}
    )
    return Trained(
        write=lambda folder: _write(folder / "rows.json", rows),
        candidate="counts",
        beats_baseline=True,
        parameters={"rows": rows},
        why="a test",
        metrics=[],
    )


def _write(path: Path, rows: object) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")


TRAINING = Training(name="tiny", description="Counts rows.", train=_train, extra_tables=())


@pytest.fixture
def tiny_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Replaces the platform's models, features and predictions by the tiny ones."""
    # The module builds the platform of a home when it is imported first.
    write_day(tmp_path / "first_source", dt.date(2024, 3, 4))
    monkeypatch.setenv("BATCH_PREDICTIONS_HOME", str(tmp_path / "first_home"))
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__KIND", "files")
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__PATH", str(tmp_path / "first_source"))
    umask = os.umask(0)
    from batch_predictions import definitions

    kinds = {BatchPrediction: PREDICTIONS, FeatureTable: [], RealizedMetric: []}
    monkeypatch.setattr(definitions, "instances", lambda kind, _: kinds[kind])
    monkeypatch.setattr(scorer_code, "instances", lambda *_: PREDICTIONS)
    monkeypatch.setattr(definitions, "TILES", {})
    # Each step takes a moment: only the raw tables without which a day or a week is missing.
    needed = [table for table in INGESTED_TABLES if table.partition]
    monkeypatch.setattr(definitions, "INGESTED_TABLES", needed)
    for name in ("histograms", "drift"):
        monkeypatch.setattr(definitions, f"{name}_asset", partial(_asset_without_rows, name))
    for module in (definitions, planner, stale):
        monkeypatch.setattr(module, "trainings", lambda: {"tiny": TRAINING})
    for table in (DAILY, WEEKLY):
        declare(table)
    yield
    faults.clear()
    os.umask(umask)
    for table in (DAILY, WEEKLY):
        del TABLES[table.qualified]


def _asset_without_rows(name: str, partitions: Partitions) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        key_prefix="evaluation",
        group_name="evaluation",
        partitions_def=partitions.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def asset() -> None:
        """Stands for an asset whose plots take most of a night's time here."""
        if name in faults:
            raise ValueError(f"a fault of {name}")

    return asset


def write_day(folder: Path, day: dt.date, item: str = "a") -> None:
    """Writes a file of a day: every user buys an item."""
    (folder / "interactions").mkdir(parents=True, exist_ok=True)
    lines = [f"u{n},{item}{n % 2},{day}T12:00:00Z" for n in range(USERS)]
    text = "\n".join(["user_id,item_id,occurred_at", *lines]) + "\n"
    (folder / "interactions" / f"{day}.csv").write_text(text, encoding="utf-8")
