"""A platform of one model and two predictions on a shop of a few rows, and who runs its nights.

`TinyHome.drive` follows schedules and sensors as Dagster's daemon does: it evaluates them, and
executes every run that they ask for. `TinyHome.run` does what the command does, in another home.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import dagster as dg
import pyarrow as pa
import pytest

from batch_predictions.automation import instance as home_instance
from batch_predictions.automation import new_files, prepared_run, stale
from batch_predictions.automation.job_runner import PARTITION
from batch_predictions.automation.progress import LOGGER
from batch_predictions.automation.run import run
from batch_predictions.automation.run_summary import Summary
from batch_predictions.automation.unchanged import served_release
from batch_predictions.evaluation.realized_metric import RealizedMetric
from batch_predictions.features.declaration import FeatureTable
from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import ScorerContext
from batch_predictions.models.training import Trained, Training
from batch_predictions.partitions import Partitions
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.tables import COSTS, TABLES, Table, columns, declare
from batch_predictions.warehouse import Warehouse

USERS = 4
faults: set[str] = set()
"""What fails, until a test takes it out: training, daily, weekly."""


def _table(name: str, partition: str) -> Table:
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
    monkeypatch.setattr(definitions, "TILES", {})
    # Each step takes a moment: only the raw tables without which a day is missing.
    daily = [table for table in definitions.INGESTED_TABLES if table.partition == "date"]
    monkeypatch.setattr(definitions, "INGESTED_TABLES", daily)
    monkeypatch.setattr(definitions, "drift_asset", _asset_without_rows)
    for module in (definitions, prepared_run, stale):
        monkeypatch.setattr(module, "trainings", lambda: {"tiny": TRAINING})
    for table in (DAILY, WEEKLY):
        declare(table)
    yield
    faults.clear()
    os.umask(umask)
    for table in (DAILY, WEEKLY):
        del TABLES[table.qualified]


def _asset_without_rows(partitions: Partitions) -> dg.AssetsDefinition:
    @dg.asset(
        key_prefix="evaluation",
        group_name="evaluation",
        partitions_def=partitions.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def drift() -> None:
        """Stands for an asset whose plots take most of a night's time here."""

    return drift


def write_day(folder: Path, day: dt.date, item: str = "a") -> None:
    """Writes a file of a day: every user buys an item."""
    (folder / "interactions").mkdir(parents=True, exist_ok=True)
    lines = [f"u{n},{item}{n % 2},{day}T12:00:00Z" for n in range(USERS)]
    text = "\n".join(["user_id,item_id,occurred_at", *lines]) + "\n"
    (folder / "interactions" / f"{day}.csv").write_text(text, encoding="utf-8")


@dataclass
class TinyHome:
    """A home of the tiny platform.

    Attributes:
        folder: of the home.
        source: folder of the files.
        monkeypatch: makes it the home of this process.
        cursors: of the sensors.
        log: the jobs that were executed, with their partitions and whether they succeeded.
        skipped: why the schedule or a sensor asked for nothing, newest last.
        asked: keys of the runs that were asked for.
    """

    folder: Path
    source: Path
    monkeypatch: pytest.MonkeyPatch
    cursors: dict[str, str | None] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    in_memory: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)

    def __post_init__(self) -> None:
        source = SourceSettings(kind="files", path=self.source, timezone="UTC")
        self.settings = Settings(home=self.folder, source=source)
        from batch_predictions import definitions

        self.definitions = definitions.platform(self.settings)

    @property
    def warehouse(self) -> Warehouse:
        """Of the home."""
        return Warehouse.of(self.settings)

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """The home's Dagster instance, of this process while the block lasts."""
        from batch_predictions import definitions

        with self.monkeypatch.context() as patch:
            patch.setenv("BATCH_PREDICTIONS_HOME", str(self.folder))
            patch.setattr(definitions, "defs", self.definitions)
            # In memory, since its files would take most of the time.
            patch.setattr(home_instance, "prepare", lambda _: self.folder)
            patch.setattr(dg.DagsterInstance, "get", lambda: self.in_memory)
            # A schedule's context has no way to take an instance without files.
            given = property(lambda _: self.in_memory)
            patch.setattr(dg.ScheduleEvaluationContext, "instance", given)
            yield self.in_memory

    def run(self) -> Summary:
        """What the command `run` does."""
        with self.instance():
            return run(self.settings, self.definitions)

    def tick(self, at: dt.datetime) -> None:
        """A tick of the schedule, and all that follows."""
        with self.instance() as instance:
            schedule = self.definitions.get_repository_def().get_schedule_def("nightly")
            context = dg.build_schedule_context(
                scheduled_execution_time=at,
                repository_def=self.definitions.get_repository_def(),
            )
            data = schedule.evaluate_tick(context)
            self._execute(instance, data.run_requests or [], data.skip_message, "ingest")
            self.follow(instance)

    def look(self, now: dt.datetime, times: int = 2) -> None:
        """Looks of the sensor new_files, and all that follows."""
        with self.instance() as instance, self.monkeypatch.context() as patch:
            patch.setattr(new_files, "current_time", lambda _: now)
            for _ in range(times):
                self.evaluate(instance, "new_files")
            self.follow(instance)

    def follow(self, instance: dg.DagsterInstance) -> None:
        """Ticks of the sensor next_job until it asks for nothing."""
        while self.evaluate(instance, "next_job"):
            pass

    def evaluate(self, instance: dg.DagsterInstance, name: str) -> int:
        """A tick of a sensor: executes what it asks for; how many runs these were."""
        repository = self.definitions.get_repository_def()
        with dg.build_sensor_context(
            instance=instance,
            cursor=self.cursors.get(name),
            repository_def=repository,
            resources={"settings": self.settings, "warehouse": self.warehouse},
        ) as context:
            data = repository.get_sensor_def(name).evaluate_tick(context)
        self.cursors[name] = data.cursor
        return self._execute(instance, data.run_requests or [], data.skip_message, "ingest")

    def _execute(
        self,
        instance: dg.DagsterInstance,
        requests: Any,
        skip_message: str | None,
        default_job: str,
    ) -> int:
        if skip_message:
            self.skipped.append(skip_message)
        for request in requests:
            # Dagster starts no second run of a key.
            assert request.run_key not in self.asked
            self.asked.add(request.run_key)
            self.execute(instance, request, request.job_name or default_job)
        return len(requests)

    def execute(self, instance: dg.DagsterInstance, request: dg.RunRequest, name: str) -> None:
        """Executes a run as it was asked for."""
        tags = dict(request.tags)
        if request.partition_key:
            tags[PARTITION] = request.partition_key
        job = dg.build_reconstructable_job(
            "batch_predictions.definitions", "job", reconstructable_args=(name,)
        )
        selection = [*request.asset_selection] if request.asset_selection else None
        with dg.execute_job(
            job,
            instance=instance,
            tags=tags,
            run_config={"loggers": {LOGGER: {}}},
            asset_selection=selection,
            raise_on_error=False,
        ) as result:
            keys = request.partition_key or "{} to {}".format(
                tags["dagster/asset_partition_range_start"],
                tags["dagster/asset_partition_range_end"],
            )
            self.log.append(f"{name} {keys}" + ("" if result.success else " failed"))

    def take_log(self) -> list[str]:
        """What was executed since the last call."""
        log, self.log = self.log, []
        return log

    def contents(self) -> dict[str, str]:
        """Hashes of all partitions, and the decisions of the trainings."""
        root = self.folder / "warehouse"
        files = {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("data.parquet"))
            # Costs are measured.
            if COSTS.name not in path.parts
        }
        decisions = sorted((self.folder / "models").glob("tiny/decisions/*.json"))
        return files | {path.name: path.read_text(encoding="utf-8") for path in decisions}

    def released(self) -> str | None:
        """The release that is served."""
        return served_release(self.settings)
