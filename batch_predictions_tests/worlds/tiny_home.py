"""A home of the tiny platform, and who runs its nights.

`tick`, `look` and `follow` do as Dagster's daemon does: they evaluate the schedule and the sensors,
and execute every run that these ask for. `run` does what the command does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import typer

from batch_predictions.cli.commands import run_command
from batch_predictions.cli.console.errors import describe_error
from batch_predictions.operations.run_summary import Summary
from batch_predictions.operations.status import read_status
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.orchestration import new_files
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.orchestration.job_runner import PARTITION
from batch_predictions.orchestration.progress import LOGGER
from batch_predictions.orchestration.run import run
from batch_predictions.planning.unchanged import served_release
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.tables import COSTS
from batch_predictions.warehouse import Warehouse


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

    def command(self, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
        """The exit code of the command `run`, and its first line, of an error that of the error."""
        capsys.readouterr()
        with self.instance():
            try:
                run_command._run(self.settings, None, None, False)
                code = 0
            except typer.Exit as error:
                code = error.exit_code
            except Exception as error:
                ending = describe_error(error)
                assert ending is not None
                return ending.code, ending.message
        return code, capsys.readouterr().out.splitlines()[0]

    def problems(self) -> dict[str, str]:
        """What `status` says needs attention, by condition."""
        with self.instance() as instance:
            status = read_status(self.settings, DagsterRecords(self.settings, instance))
        return {problem.condition: problem.message for problem in status.problems}

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
