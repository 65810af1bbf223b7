"""A small prediction for the engine: numbers are doubled. Workers find its scorers by name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.inference import staging
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext, name_of
from batch_predictions.inference.staging import StagingManifest, result_path
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


class Doubler:
    """Doubles numbers. What it was asked and by which threads is kept for the tests."""

    version: ClassVar[str] = "1"
    opened: ClassVar[list[tuple[int, ScorerContext]]] = []
    asked: ClassVar[list[list[str]]] = []
    before: ClassVar[list[Callable[[list[str]], object]]] = []
    """Each is called with the ids of a batch before it is scored."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        cls.opened.append((threading.get_ident(), opening))
        return cls()

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        assert self.thread == threading.get_ident(), "an instance lives in one worker"
        ids = rows["id"].to_pylist()
        for each in self.before:
            each(ids)
        self.asked.append(ids)
        return self.answer(rows)

    def answer(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict(
            {
                "id": rows["id"],
                "rank": pa.array([1] * rows.num_rows, pa.int64()),
                "value": pa.array([2 * n for n in rows["n"].to_pylist()], pa.int64()),
            }
        )


class Answering(Doubler):
    """Answers with rows that a test has put down: (id, rank, value, excluded)."""

    rows: ClassVar[list[tuple[Any, Any, Any, Any]]] = []

    def answer(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        here = set(rows["id"].to_pylist())
        # What is not among the batch's ids is invented with the batch that has the first.
        first = "0" in here
        mine = [row for row in self.rows if row[0] in here or (first and str(row[0])[0] == "x")]
        names = ("id", "rank", "value", EXCLUDED)
        types = (pa.string(), pa.int64(), pa.int64(), pa.string())
        return pa.RecordBatch.from_arrays(
            [pa.array([row[place] for row in mine], type_) for place, type_ in enumerate(types)],
            names=names,
        )


@dataclass(frozen=True)
class Staging:
    """Stages numbers into a folder; what differs from the usual is said in the call."""

    warehouse: Warehouse
    folder: Path
    usual: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, n: int = 10, **other: Any) -> Path:
        given: dict[str, Any] = {
            "table": DOUBLES,
            "partition": DAY,
            "rows": NUMBERS,
            "side": {},
            "key": ("id",),
            "sql_parameters": {"n": n},
            "scorer": name_of(Doubler),
            "scorer_version": Doubler.version,
            "parameters": {},
            "model": None,
            "model_version": "rules-1",
            "model_folder": None,
            "shard_rows": 4,
            **self.usual,
            **other,
        }
        return staging.stage(self.warehouse, self.folder, **given)

    def manifest(self, n: int = 10, **other: Any) -> StagingManifest:
        return StagingManifest.read(self(n, **other))


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of one file, without what its folders say."""
    rows: list[dict[str, Any]] = pq.read_table(path, partitioning=None).to_pylist()
    return rows


def values(path: Path) -> dict[str, int]:
    """All results of a stage."""
    rows = [
        row
        for shard in StagingManifest.read(path).shards
        for row in rows_of(result_path(path, shard))
    ]
    return {row["id"]: row["value"] for row in rows}
