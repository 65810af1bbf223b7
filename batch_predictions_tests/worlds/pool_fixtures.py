"""Staged partitions and scorers that fail on purpose, for every crew of the engine."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_predictions.inference import results as results_
from batch_predictions.inference import staging
from batch_predictions.inference.scorer import Scorer, ScorerContext, name_of
from batch_predictions.inference.staging import StagingManifest, result_path
from batch_predictions.tables import RECOMMENDATIONS
from batch_predictions.warehouse import Warehouse

PARTITION = "2024-01-05"


class Doubler:
    """Twice the row's number; what else it does on the way is a parameter."""

    version: ClassVar[str] = "1"
    open_now: ClassVar[int] = 0
    most_open: ClassVar[int] = 0
    lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        """An instance."""
        if marks := opening.parameters.get("say_gpus_in"):
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
            (Path(marks) / str(os.getpid())).write_text(visible)
        return cls(dict(opening.parameters))

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """user_id and twice n."""
        cls = type(self)
        with cls.lock:
            cls.open_now += 1
            cls.most_open = max(cls.most_open, cls.open_now)
        try:
            self._trouble(rows["n"][0].as_py())
            time.sleep(float(self.parameters.get("seconds", 0)))
        finally:
            with cls.lock:
                cls.open_now -= 1
        return pa.RecordBatch.from_arrays(
            [rows["user_id"], pc.multiply(rows["n"], 2)], names=["user_id", "twice"]
        )

    def _trouble(self, first: int) -> None:
        """Fails or dies at the shard that begins with `first`, as often as its parameter says."""
        for what in ("fail", "die", "die_writing"):
            if self.parameters.get(f"{what}_at") != first:
                continue
            marks = Path(self.parameters["marks"])
            count = len(list(marks.iterdir()))
            if count < self.parameters[f"{what}_times"]:
                (marks / str(count)).touch()
                if what == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                if what == "die_writing":
                    vars(results_)["pq"] = DyingWriter
                    return
                raise ArithmeticError(f"cannot score {first}")


class DyingWriter:
    """Stands for pyarrow.parquet in a worker that is killed while it writes a result."""

    @staticmethod
    def write_table(rows: pa.Table, file: Any, **how: Any) -> None:
        """Half a file, and the end."""
        file.write(b"PAR1 and no more")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)


class ProcessDoubler(Doubler):
    """The same in processes."""

    workers: ClassVar[str] = "processes"


def staged(
    warehouse: Warehouse,
    rows: int = 40,
    shard_rows: int = 5,
    scorer: type[Scorer] = Doubler,
    shard_mb: int = 64,
    **parameters: Any,
) -> Path:
    """A staged partition of users u000, u001, …; returns the manifest's path."""
    return staging.stage(
        warehouse,
        Path(warehouse.home) / "inference",
        table=RECOMMENDATIONS,
        partition=PARTITION,
        rows=f"select format('u{{:07d}}', r) as user_id, r as n from range({rows}) as t(r)",
        side={},
        key=("user_id",),
        sql_parameters={},
        scorer=name_of(scorer),
        scorer_version=scorer.version,
        parameters=parameters,
        model=None,
        model_version="rules-1",
        model_folder=None,
        shard_rows=shard_rows,
        shard_mb=shard_mb,
    )


def results(path: Path) -> pa.Table:
    """All results of a manifest, in order."""
    manifest = StagingManifest.read(path)
    return pa.concat_tables(pq.read_table(result_path(path, s)) for s in manifest.shards)


def scored_shards(path: Path) -> int:
    """How many shards have a result."""
    return sum(result_path(path, shard).exists() for shard in StagingManifest.read(path).shards)
