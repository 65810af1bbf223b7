"""What scores rows: the contract between the engine and a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, TypeAdapter

EXCLUDED = "excluded"
"""Output column with the reason why a key gets no row; null for rows that are predictions."""


NOTES = b"notes"


class ScorerMetric(BaseModel):
    """A figure of a scorer's own about its results: a mean, and of how many users or rows."""

    model_config = ConfigDict(frozen=True)

    mean: float
    of: int


_Notes = TypeAdapter(dict[str, ScorerMetric])


def with_metrics(rows: pa.RecordBatch, notes: Mapping[str, ScorerMetric]) -> pa.RecordBatch:
    """Rows with figures about them, which are logged and shown as the asset's metadata."""
    if not notes:
        return rows
    return rows.replace_schema_metadata({NOTES: _Notes.dump_json(dict(notes))})


def metrics_in(schema: pa.Schema) -> dict[str, ScorerMetric]:
    """The figures that a scorer put down beside its rows."""
    kept = (schema.metadata or {}).get(NOTES)
    return _Notes.validate_json(kept) if kept else {}


@dataclass(frozen=True)
class ScorerContext:
    """What an instance is opened with: files and plain values, so that any worker can open it.

    Attributes:
        model: folder of the model's files; None for predictions without a model.
        side: small tables that every row is scored beside, by name (Parquet files).
        parameters: the declaration's parameters (JSON values).
        device: cpu or cuda, chosen at run time.
        block_mb: memory that one block of scores may take, MiB.
    """

    model: Path | None = None
    lookup_tables: Mapping[str, Path] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    block_mb: int = 256

    def lookup_table(self, name: str) -> pa.Table:
        """A side table's rows."""
        return pq.read_table(self.lookup_tables[name])


class Scorer(Protocol):
    """Scores batches of rows with one loaded model; one instance lives in one worker.

    `score` returns the prediction table's columns without the partition's and `model_version`; any
    number of rows for each key. A key that gets none has one row with the reason in `excluded`.
    For every companion of the declaration there is a further column, a list of structs: the key's
    rows of that table, on one of its rows and null on the others.
    The same rows give the same result whatever batch they come in. What a person should know of the
    results beside the rows, such as a recall, is told by `with_notes`.
    """

    version: ClassVar[str]
    """Changed by hand when the same model and rows give other results: kept ones are not used.

    A scorer may also have `workers = "processes"` and `uses_gpu = False`; see `workers_of` and
    `uses_gpu`.
    """

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        """Loads the model; called once in each worker."""
        ...

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Scores a batch of staged rows."""
        ...


def workers_of(scorer: type[Scorer]) -> Literal["threads", "processes"]:
    """How several instances work beside each other on one machine, as the scorer declares it.

    A class attribute `workers = "processes"` says that its work is in Python itself, which one
    thread at a time runs; without it, instances are threads.
    """
    kind = getattr(scorer, "workers", "threads")
    if kind not in ("threads", "processes"):
        raise ValueError(f"{name_of(scorer)}.workers is {kind!r}: threads or processes")
    return "processes" if kind == "processes" else "threads"


def uses_gpu(scorer: type[Scorer], model: Path | None) -> bool:
    """Whether its work is better done on a GPU where there is one, as the scorer declares it.

    Without an attribute `uses_gpu = False` it is: then there is an instance for each GPU, not for
    each core, and on Ray each asks for one. Where that depends on the model, `uses_gpu` is a class
    method that is called with the model's folder.
    """
    declared = getattr(scorer, "uses_gpu", True)
    return bool(declared(model) if callable(declared) else declared)


def name_of(scorer: type[Scorer]) -> str:
    """`module:Class`, by which any worker finds the scorer."""
    return f"{scorer.__module__}:{scorer.__qualname__}"
