"""A small prediction for the tests of the engine: numbers are doubled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.inference import staging
from batch_predictions.inference.results import StagingManifest, result_path, save_result
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.inference.staging import StagingSpec
from batch_predictions.tables import Table, columns
from batch_predictions.warehouse import Warehouse

DAY = "2024-03-03"
DOUBLES = Table(
    "predictions",
    "doubles",
    "Every number twice, for these tests.",
    columns("""
        date DATE: as of the end of this day
        id VARCHAR: which number
        rank BIGINT: 1 is best
        value BIGINT: twice the number
        model_version VARCHAR: model that scored it
    """),
    key=("id", "rank"),
)
NUMBERS = "select i::VARCHAR as id, i as n from range($n::BIGINT) as r(i)"


class DoublingScorer:
    """Doubles numbers, and records its instances and batches."""

    version: ClassVar[str] = "1"
    opened: ClassVar[list[tuple[int, ScorerContext]]] = []
    """Thread and context of every instance."""
    batches: ClassVar[list[list[str]]] = []
    """Ids of every scored batch."""
    hooks: ClassVar[list[Callable[[list[str]], object]]] = []
    """Called with the ids of a batch before it is scored."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        cls.opened.append((threading.get_ident(), context))
        return cls()

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        assert self.thread == threading.get_ident(), "an instance lives in one worker"
        ids = rows["id"].to_pylist()
        for hook in self.hooks:
            hook(ids)
        self.batches.append(ids)
        return self.predict(rows)

    def predict(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict(
            {
                "id": rows["id"],
                "rank": pa.array([1] * rows.num_rows, pa.int64()),
                "value": pa.array([2 * n for n in rows["n"].to_pylist()], pa.int64()),
            }
        )


class FixedScorer(DoublingScorer):
    """Returns the rows that a test has set: (id, rank, value, excluded)."""

    rows: ClassVar[list[tuple[Any, Any, Any, Any]]] = []

    def predict(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        ids = set(rows["id"].to_pylist())
        # Rows of ids that were not staged, "x…", are returned with the batch of id 0.
        results = [row for row in self.rows if row[0] in ids or (row[0][0] == "x" and "0" in ids)]
        names = ("id", "rank", "value", EXCLUDED)
        types = (pa.string(), pa.int64(), pa.int64(), pa.string())
        return pa.RecordBatch.from_arrays(
            [pa.array([row[i] for row in results], type_) for i, type_ in enumerate(types)],
            names=names,
        )


@dataclass(frozen=True)
class Staging:
    """Stages numbers into a folder; keyword arguments override fields of the specification."""

    warehouse: Warehouse
    folder: Path

    def __call__(self, n: int = 10, **overrides: Any) -> Path:
        spec = StagingSpec(
            table=DOUBLES,
            partition=DAY,
            rows=NUMBERS,
            key=("id",),
            scorer=DoublingScorer,
            model_version="rules-1",
            sql_parameters={"n": n},
            shard_rows=4,
        )
        return staging.stage(self.warehouse, self.folder, replace(spec, **overrides))

    def manifest(self, n: int = 10, **overrides: Any) -> StagingManifest:
        """The manifest of a stage."""
        return StagingManifest.read(self(n, **overrides))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of one file, without the columns in the names of its folders."""
    rows: list[dict[str, Any]] = pq.read_table(path, partitioning=None).to_pylist()
    return rows


def read_values(path: Path) -> dict[str, int]:
    """The values of all results of a stage, by id."""
    rows = [
        row
        for shard in StagingManifest.read(path).shards
        for row in read_rows(result_path(path, shard))
    ]
    return {row["id"]: row["value"] for row in rows}


def write_parquet_result(rows: pa.Table, path: Path) -> None:
    """Writes rows as the result of a shard."""
    buffer = pa.BufferOutputStream()
    pq.write_table(rows, buffer)
    save_result(buffer.getvalue(), path)
