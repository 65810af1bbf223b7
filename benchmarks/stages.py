"""Seconds and peak memory of every stage of a day, each in a separate process.

    python benchmarks/stages.py [--home FOLDER]

The source is that of the settings (BATCH_PREDICTIONS_SOURCE__KIND and __PATH); the day is its
newest complete one, and the trained week the latest that has ended by then. Stages: ingest of all
days, promotions known ahead, features, training of every model, `stage`, `score` and `load` of
every prediction, release. Seconds do not include starting Python and loading the platform, which is
the stage `start`. Memory is the peak resident set of the process (VmHWM), memory-mapped files
included, and that of its largest child where it is more. Prints one JSON object; progress goes to
the standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import graphlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import log, machine, print_json

HANDLES = "benchmark-handles"
"""Folder in the home with the manifests' paths, which pass from process to process."""


def measure(home: Path) -> dict[str, Any]:
    """Measures all stages, in the order of a run."""
    load_before = machine()
    stages: dict[str, dict[str, Any]] = {}
    for name in ("start", *_run(home, "plan")["stages"]):
        stages[name] = _run(home, name)
        log(name, stages[name])
    return {
        "machine": load_before,
        "source": os.environ.get("BATCH_PREDICTIONS_SOURCE__KIND", "complete_journey"),
        "stages": stages,
        "seconds": round(sum(stage["seconds"] for stage in stages.values()), 1),
        "peak_mib": max(stage["peak_mib"] for stage in stages.values()),
    }


def _run(home: Path, stage: str) -> dict[str, Any]:
    started = time.perf_counter()
    process = subprocess.run(
        [sys.executable, __file__, "--stage", stage, "--home", str(home)],
        env={**os.environ, "BATCH_PREDICTIONS_HOME": str(home)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    report: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    if stage == "start":
        report["seconds"] = round(time.perf_counter() - started, 2)
    return report


class Stages:
    """Runs stages by name in this process."""

    def __init__(self, home: Path) -> None:
        from batch_predictions import definitions
        from batch_predictions.orchestration import instance, jobs
        from batch_predictions.settings import Settings
        from batch_predictions.sources.home_state import initialise_home
        from batch_predictions.sources.source_registry import build_source, current_date

        self.home, self.jobs = home, jobs
        self.settings = Settings.load()
        state = initialise_home(self.settings)
        instance.prepare(self.settings)
        self.graph = definitions.defs.resolve_asset_graph()
        self.source = build_source(self.settings.source, state)
        from batch_predictions.tables.partitions import latest_ended_week, trained_through, week_of

        newest = self.source.newest_complete_day(current_date(state.timezone))
        # A source of one day is predicted as of the end of its week.
        self.day = max(newest, trained_through(week_of(state.first_day)))
        self.week = latest_ended_week(self.day)
        self.first = state.first_day

    def plan(self) -> list[str]:
        """Names of the stages for which the source has data."""
        from batch_predictions.tables import INTERACTIONS, REVIEWS

        missing = [t.name for t in (INTERACTIONS, REVIEWS) if t not in self.source.tables()]
        weekly = [t for t in self.source.tables() if t.partition == "week"]
        stages = ["ingest", *(["ingest_ahead"] if weekly else []), "features"]
        unserved = self._downstream(missing)
        stages += [f"train:{key}" for key in self._keys("models") if key not in unserved]
        for name in self._predictions():
            if f"predictions/{name}" not in unserved:
                stages += [f"{step}:{name}" for step in ("stage", "score", "load")]
        return [*stages, "release"]

    def run(self, stage: str) -> dict[str, Any]:
        """Runs one stage; returns what it has processed."""
        from batch_predictions.planning.run_plan import WEEKS_BEFORE_TRAINING
        from batch_predictions.tables.partitions import weeks_ahead

        step, _, name = stage.partition(":")
        day, week = str(self.day), str(self.week)
        if step == "start":
            return {}
        if step == "ingest":
            return self._job(self.jobs.INGEST, str(self.first), day)
        if step == "ingest_ahead":
            weeks = max(WEEKS_BEFORE_TRAINING, self.settings.demand.promotion_weeks)
            back = dt.timedelta(days=7 * weeks)
            first = max(self.week - back, self.first)
            monday = first - dt.timedelta(days=first.weekday())
            last = self.day + dt.timedelta(
                days=7 * (weeks_ahead(self.settings) - 1) - self.day.weekday()
            )
            return self._job(self.jobs.INGEST_WEEKLY, str(monday), str(last))
        if step in ("features", "release"):
            group = {"release": "serving"}.get(step, step)
            return self._job(self.jobs.NIGHTLY, day, day, self._keys(group))
        if step == "train":
            return self._job(self.jobs.WEEKLY_TRAINING, week, week, [name])
        return self._predict(step, name)

    def _predict(self, step: str, name: str) -> dict[str, Any]:
        from batch_predictions.inference.partition_loading import load_partition
        from batch_predictions.inference.partition_staging import sql_parameters, stage_partition
        from batch_predictions.inference.pools import engine
        from batch_predictions.inference.results import StagingManifest
        from batch_predictions.inference.validation import validate
        from batch_predictions.models.model_store import ModelStore
        from batch_predictions.warehouse import Warehouse

        prediction = self._predictions()[name]
        warehouse = Warehouse.of(self.settings)
        partition = str(self.day if prediction.table.partition == "date" else self.week)
        handle = self.home / HANDLES / name
        if step == "stage":
            handle.parent.mkdir(exist_ok=True)
            models = ModelStore.of(self.settings)
            path = stage_partition(prediction, partition, warehouse, models, self.settings)
            handle.write_text(str(path))
            return {"rows": StagingManifest.read(path).rows}
        path = Path(handle.read_text())
        if step == "score":
            summary = engine.score(path, self.settings.inference)
            return {"rows": summary.scored_rows, "instances": summary.instances}
        table, child_tables = prediction.table, prediction.child_tables
        parameters = sql_parameters(prediction, partition, self.settings)
        result = validate(warehouse, table, path, prediction.checks, parameters, child_tables)
        assert result.passed, result
        return {"rows": load_partition(warehouse, table, path, child_tables).main.rows}

    def _predictions(self) -> dict[str, Any]:
        """All declared predictions by name, each after those that it reads."""
        from batch_predictions.inference.base import BatchPrediction
        from batch_predictions.tables.discovery import instances

        declared = instances(BatchPrediction, "predictions/*.py")
        by_table = {prediction.table.qualified: prediction for prediction in declared}
        graph = {name: by_table.keys() & p.tables() for name, p in by_table.items()}
        order = graphlib.TopologicalSorter(graph).static_order()
        return {by_table[name].name: by_table[name] for name in order}

    def _keys(self, group: str) -> list[str]:
        import dagster as dg

        keys = dg.AssetSelection.groups(group).resolve(self.graph)
        return sorted("/".join(key.path) for key in keys)

    def _downstream(self, raw: list[str]) -> set[str]:
        import dagster as dg

        if not raw:
            return set()
        roots = dg.AssetSelection.assets(*(["raw", name] for name in raw))
        keys = roots.downstream(include_self=False).resolve(self.graph)
        return {"/".join(key.path) for key in keys}

    def _job(
        self, job: Any, first: str, last: str, keys: list[str] | None = None
    ) -> dict[str, Any]:
        import dagster as dg

        from batch_predictions.orchestration.progress import LOGGER

        tags = {"dagster/partition": first}
        if first != last:
            tags = {
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last,
            }
        reconstructable = dg.build_reconstructable_job(
            "batch_predictions.definitions", "job", reconstructable_args=(job.name,)
        )
        selected = job.selection.resolve(self.graph)
        if keys is not None:
            selected = {key for key in selected if "/".join(key.path) in keys}
        with dg.execute_job(
            reconstructable,
            instance=dg.DagsterInstance.get(),
            tags=tags,
            run_config={"loggers": {LOGGER: {}}},
            asset_selection=sorted(selected),
            raise_on_error=True,
        ):
            return {"partitions": f"{first} to {last}" if first != last else first}


def _peaks() -> Iterator[int]:
    """Peak resident sets in MiB: of this process, and of its largest child."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            yield round(int(line.split()[1]) / 1024)
    yield round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


def main() -> None:
    """Measures all stages, or runs one of them in its process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, help="a home to keep; else a temporary one")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        stages = Stages(args.home)
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        report = {"stages": stages.plan()} if args.stage == "plan" else stages.run(args.stage)
        seconds = {
            "seconds": round(time.perf_counter() - wall_start, 2),
            "cpu_seconds": round(time.process_time() - cpu_start, 2),
        }
        peak, child = _peaks()
        memory = {"peak_mib": peak}
        if child > peak:
            memory["worker_peak_mib"] = child
        print(json.dumps({**seconds, **memory, **report}))
        return
    if args.home:
        print_json(measure(args.home.absolute()))
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-stages-") as home:
        print_json(measure(Path(home)))


if __name__ == "__main__":
    main()
