"""Seconds and peak memory of every stage of a day: each runs in a process of its own.

    python benchmarks/stages.py [--home FOLDER] [--days 1]

The source is that of the settings, the default one unless BATCH_PREDICTIONS_SOURCE__KIND and
__PATH say otherwise; the day is its newest complete one, the week trained the newest that had
ended by it. Stages: ingest of all days, promotions known ahead, features, the training of each
model, `stage`, `score` and `load` of each prediction, release. Seconds leave out starting Python
and loading the platform, which is the stage `start`; memory is the highest resident set of the
process (VmHWM), what it maps of files included, and that of its largest child, where that is more.
Prints one JSON object; progress goes to the standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import graphlib
import importlib
import json
import os
import pkgutil
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import machine, say, show

HANDLES = "benchmark-handles"
"""Where, in the home, the manifests of staged predictions are noted between processes."""


def measure(home: Path) -> dict[str, Any]:
    """All stages, in the order of a run."""
    load_before = machine()
    stages: dict[str, dict[str, Any]] = {}
    for stage in ("start", *_run(home, "plan")["stages"]):
        stages[stage] = _run(home, stage)
        say(stage, stages[stage])
    return {
        "machine": load_before,
        "source": os.environ.get("BATCH_PREDICTIONS_SOURCE__KIND", "complete_journey"),
        "stages": stages,
        "seconds": round(sum(each["seconds"] for each in stages.values()), 1),
        "peak_mib": max(each["peak_mib"] for each in stages.values()),
    }


def _run(home: Path, stage: str) -> dict[str, Any]:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--stage", stage, "--home", str(home)],
        env={**os.environ, "BATCH_PREDICTIONS_HOME": str(home)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if stage == "start":
        answer["seconds"] = round(time.perf_counter() - began, 2)
    return answer


class Stages:
    """The stages by name, in one process."""

    def __init__(self, home: Path) -> None:
        from batch_predictions import definitions
        from batch_predictions.automation import instance, jobs
        from batch_predictions.home import read_state
        from batch_predictions.settings import Settings
        from batch_predictions.sources.registry import build_source, current_date

        self.home, self.jobs = home, jobs
        self.settings = Settings.load()
        state = read_state(home)
        assert state is not None
        instance.prepare(self.settings)
        self.graph = definitions.defs.resolve_asset_graph()
        self.source = build_source(self.settings.source, state)
        from batch_predictions.partitions import latest_ended_week, trained_through, week_of

        newest = self.source.newest_complete_day(current_date(state.timezone))
        # A source of one day is predicted as of the end of its week.
        self.day = max(newest, trained_through(week_of(state.first_day)))
        self.week = latest_ended_week(self.day)
        self.first = state.first_day

    def plan(self) -> list[str]:
        """The stages that the source feeds."""
        from batch_predictions.tables import INTERACTIONS, REVIEWS

        lacking = [t.name for t in (INTERACTIONS, REVIEWS) if t not in self.source.tables()]
        ahead = [t for t in self.source.tables() if t.partition == "week"]
        stages = ["ingest", *(["ingest_ahead"] if ahead else []), "features"]
        unfed = self._downstream(lacking)
        stages += [f"train:{key}" for key in self._keys("models") if key not in unfed]
        for name in self._predictions():
            if f"predictions/{name}" not in unfed:
                stages += [f"{step}:{name}" for step in ("stage", "score", "load")]
        return [*stages, "release"]

    def work(self, stage: str) -> dict[str, Any]:
        """One stage; what it made."""
        from batch_predictions.automation.planning import WEEKS_BEFORE_TRAINING
        from batch_predictions.partitions import weeks_ahead

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
        from batch_predictions.inference import engine
        from batch_predictions.inference.partition_loading import load_partition
        from batch_predictions.inference.partition_staging import sql_parameters, stage_partition
        from batch_predictions.inference.staging import StagingManifest
        from batch_predictions.inference.validation import validate
        from batch_predictions.model_store import ModelStore
        from batch_predictions.warehouse import Warehouse

        prediction = self._predictions()[name]
        warehouse = Warehouse.of(self.settings)
        partition = str(self.day if prediction.table.partition == "date" else self.week)
        noted = self.home / HANDLES / name
        if step == "stage":
            noted.parent.mkdir(exist_ok=True)
            models = ModelStore.of(self.settings)
            path = stage_partition(prediction, partition, warehouse, models, self.settings)
            noted.write_text(str(path))
            return {"rows": StagingManifest.read(path).rows}
        path = Path(noted.read_text())
        if step == "score":
            summary = engine.score(path, self.settings.inference)
            return {"rows": summary.scored_rows, "instances": summary.instances}
        table, child_tables = prediction.table, prediction.child_tables
        parameters = sql_parameters(prediction, partition, self.settings)
        result = validate(warehouse, table, path, prediction.checks, parameters, child_tables)
        assert result.passed, result
        return {"rows": load_partition(warehouse, table, path, child_tables).main.rows}

    def _predictions(self) -> dict[str, Any]:
        """Every declared prediction by name, each after those that it reads."""
        from batch_predictions import predictions
        from batch_predictions.inference.declaration import BatchPrediction

        modules = [
            importlib.import_module(f"{predictions.__name__}.{each.name}")
            for each in pkgutil.iter_modules(predictions.__path__)
        ]
        found = {
            each.table.qualified: each
            for module in modules
            for each in vars(module).values()
            if isinstance(each, BatchPrediction)
        }
        graph = {name: found.keys() & each.tables() for name, each in found.items()}
        order = graphlib.TopologicalSorter(graph).static_order()
        return {found[name].name: found[name] for name in order}

    def _keys(self, group: str) -> list[str]:
        import dagster as dg

        keys = dg.AssetSelection.groups(group).resolve(self.graph)
        return sorted("/".join(key.path) for key in keys)

    def _downstream(self, raw: list[str]) -> set[str]:
        import dagster as dg

        if not raw:
            return set()
        roots = dg.AssetSelection.assets(*(["raw", name] for name in raw))
        found = roots.downstream(include_self=False).resolve(self.graph)
        return {"/".join(key.path) for key in found}

    def _job(
        self, job: Any, first: str, last: str, keys: list[str] | None = None
    ) -> dict[str, Any]:
        import dagster as dg

        from batch_predictions.automation.progress import LOGGER

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
    """Resident sets in MiB: this process's highest, and its largest child's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            yield round(int(line.split()[1]) / 1024)
    yield round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


def main() -> None:
    """Measures, or works on one stage for the process that measures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, help="a home to keep; else a temporary one")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        stages = Stages(args.home)
        began, burnt = time.perf_counter(), time.process_time()
        made = {"stages": stages.plan()} if args.stage == "plan" else stages.work(args.stage)
        seconds = {
            "seconds": round(time.perf_counter() - began, 2),
            "cpu_seconds": round(time.process_time() - burnt, 2),
        }
        own, child = _peaks()
        memory = {"peak_mib": own}
        if child > own:
            memory["worker_peak_mib"] = child
        print(json.dumps({**seconds, **memory, **made}))
        return
    if args.home:
        show(measure(args.home.absolute()))
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-stages-") as home:
        show(measure(Path(home)))


if __name__ == "__main__":
    main()
