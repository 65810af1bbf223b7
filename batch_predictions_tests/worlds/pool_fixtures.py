"""Staged partitions and scorers that fail on purpose, for the tests of all worker pools."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_predictions.inference import results, staging
from batch_predictions.inference.results import StagingManifest, result_path
from batch_predictions.inference.scorer import Scorer, ScorerContext
from batch_predictions.inference.staging import StagingSpec
from batch_predictions.models.recommender.generators.base import generators
from batch_predictions.tables import RECOMMENDATIONS
from batch_predictions.warehouse import Warehouse


class FailingScorer:
    """Doubles a row's number, and fails where its parameters say so.

    Parameters:
        seconds: least duration of a batch.
        gpu_folder: where an instance writes the GPUs that it sees.
        gpu_instances: an instance opens only when so many have written there.
        fail_at, die_at, die_writing_at: number of the first row of a shard at which the scorer
            raises an error, or its process is killed.
        fail_times, die_times, die_writing_times: how often.
        counter_folder: where failures are counted.
    """

    version: ClassVar[str] = "1"
    active: ClassVar[int] = 0
    max_active: ClassVar[int] = 0
    lock: ClassVar[threading.Lock] = threading.Lock()
    hooks: ClassVar[list[Callable[[int], object]]] = []
    """Called with the number of a shard's first row before it is scored, in threads."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Writes the GPUs that the process sees."""
        if folder := context.parameters.get("gpu_folder"):
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
            (Path(folder) / str(os.getpid())).write_text(visible)
            while len(list(Path(folder).iterdir())) < context.parameters.get("gpu_instances", 1):
                time.sleep(0.01)
        return cls(dict(context.parameters))

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """user_id and twice n."""
        cls = type(self)
        with cls.lock:
            cls.active += 1
            cls.max_active = max(cls.max_active, cls.active)
        try:
            first = rows["n"][0].as_py()
            self._fail(first)
            for hook in cls.hooks:
                hook(first)
            time.sleep(float(self.parameters.get("seconds", 0)))
        finally:
            with cls.lock:
                cls.active -= 1
        return pa.RecordBatch.from_arrays(
            [rows["user_id"], pc.multiply(rows["n"], 2)], names=["user_id", "twice"]
        )

    def _fail(self, first: int) -> None:
        """Fails or dies at the shard that begins with `first`."""
        for failure in ("fail", "die", "die_writing"):
            if self.parameters.get(f"{failure}_at") != first:
                continue
            folder = Path(self.parameters["counter_folder"])
            count = len(list(folder.iterdir()))
            if count < self.parameters[f"{failure}_times"]:
                (folder / str(count)).touch()
                if failure == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                if failure == "die_writing":
                    vars(results)["_write_and_rename"] = die_writing
                    return
                raise ArithmeticError(f"cannot score {first}")


def die_writing(path: Path, content: bytes | pa.Buffer) -> None:
    """Writes the first bytes of a draft, and dies."""
    path.with_name(f".{path.name}-draft").write_bytes(b"PAR1 and no more")
    os.kill(os.getpid(), signal.SIGKILL)


class ProcessScorer(FailingScorer):
    """The same in processes."""

    workers: ClassVar[str] = "processes"


class PartlyPythonScorer(FailingScorer):
    """The same in processes from 40 rows on."""

    process_rows: ClassVar[int] = 40


class GeneratorScorer(ProcessScorer):
    """Looks a declaration up by name when it is opened, as scorers with a stored model do."""

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Fails where the generator of the parameter `generator` is unknown in this process."""
        if context.parameters["generator"] not in generators():
            raise LookupError(f"no generator {context.parameters['generator']} in {os.getpid()}")
        return cls(dict(context.parameters))


class ModelScorer(FailingScorer):
    """Needs a file of its model on the machine where it is opened."""

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Fails where the model has no names."""
        assert context.model is not None and (context.model / "names.txt").read_text()
        return cls(dict(context.parameters))


def stage_users(
    warehouse: Warehouse,
    users: int = 40,
    shard_rows: int = 5,
    scorer: type[Scorer] = FailingScorer,
    shard_mb: int = 64,
    plugins: tuple[str, ...] = (),
    shared: bool = False,
    model_folder: Path | None = None,
    **parameters: Any,
) -> Path:
    """Stages users u0000000, u0000001, …; returns the manifest's path."""
    spec = StagingSpec(
        table=RECOMMENDATIONS,
        partition="2024-01-05",
        rows=f"select format('u{{:07d}}', r) as user_id, r as n from range({users}) as t(r)",
        key=("user_id",),
        scorer=scorer,
        parameters=parameters,
        plugins=plugins,
        model_version="rules-1",
        shard_rows=shard_rows,
        shard_mb=shard_mb,
        shared=shared,
        model_folder=model_folder,
    )
    return staging.stage(warehouse, Path(warehouse.home) / "inference", spec)


def read_results(path: Path) -> pa.Table:
    """All results of a stage, in order."""
    files = results.result_files(StagingManifest.read(path), path)
    return pa.concat_tables(pq.read_table(file) for file in files)


def count_results(path: Path) -> int:
    """The number of shards that have a result."""
    return sum(result_path(path, shard).exists() for shard in StagingManifest.read(path).shards)


def doubles(users: int) -> list[int]:
    """The expected result of `stage_users`."""
    return [2 * user for user in range(users)]
