"""The contract between the engine and a model: a scorer and what it is opened with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter

from batch_predictions.tables import Table
from batch_predictions.warehouse.arrow_rows import arrow_schema

EXCLUDED = "excluded"
"""Output column with the reason why a key gets no row; null in rows that are predictions."""

METRICS_KEY = b"notes"
"""Key of the scorer's metrics in the schema metadata of a result."""


class ScorerMetric(BaseModel):
    """A metric of one result: its mean, and the number of users or rows that it was taken over."""

    model_config = ConfigDict(frozen=True)

    mean: float
    sample_size: int = Field(validation_alias=AliasChoices("sample_size", "of"))


_METRICS = TypeAdapter(dict[str, ScorerMetric])


def with_metrics(rows: pa.RecordBatch, metrics: Mapping[str, ScorerMetric]) -> pa.RecordBatch:
    """Attaches metrics to rows; they are logged and shown as metadata of the asset."""
    if not metrics:
        return rows
    return rows.replace_schema_metadata({METRICS_KEY: _METRICS.dump_json(dict(metrics))})


def metrics_in(schema: pa.Schema) -> dict[str, ScorerMetric]:
    """The metrics that `with_metrics` attached to rows of this schema."""
    metrics = (schema.metadata or {}).get(METRICS_KEY)
    return _METRICS.validate_json(metrics) if metrics else {}


@dataclass(frozen=True)
class ScorerContext:
    """The files and plain values that a scorer is opened with, so that any worker can open it.

    Attributes:
        model: folder of the model's files; None for predictions without a model.
        lookup_tables: Parquet files of the declaration's lookup tables, by name.
        parameters: the declaration's parameters (JSON values).
        device: `cpu`, `cuda` or `cuda:<number>`.
        block_mb: memory that one block of scores may take, MiB.
    """

    model: Path | None = None
    lookup_tables: Mapping[str, Path] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    block_mb: int = 256

    def lookup_table(self, name: str) -> pa.Table:
        """Reads the rows of a lookup table."""
        return pq.read_table(self.lookup_tables[name])


def result_schema(table: Table) -> pa.Schema:
    """Builds the schema of a scorer's rows for a table: its columns, and the reason of exclusion.

    The engine adds the partition's column and `model_version`.
    """
    schema = arrow_schema(table, without=(*table.folders, "model_version"))
    return schema.append(pa.field(EXCLUDED, pa.string()))


class Scorer(Protocol):
    """Scores batches of rows with one loaded model; one instance lives in one worker.

    `score` returns the columns of the prediction table without the partition and `model_version`,
    and any number of rows per key. A key without a prediction has one row with the reason in
    `excluded`. For every child table of the declaration there is a further column, a list of
    structs: the child rows of the key, on one of its rows and null on the others. A row's result
    does not depend on the batch that the row comes in. `with_metrics` adds metrics of the results.

    Optional class attributes: `workers = "processes"` and `process_rows` (see
    `pools.kind.worker_kind`), `uses_gpu = False` (see `uses_gpu`), and `dictionary_columns`, string
    columns as Parquet names them (`item_ids.list.element`) that `score` gets dictionary-encoded.
    """

    version: ClassVar[str]
    """Raise it when the same model and rows give other results: stored results are then ignored."""

    @classmethod
    def open(cls, context: ScorerContext, /) -> Self:
        """Loads the model; called once in each worker."""
        ...

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Scores a batch of staged rows."""
        ...


def uses_gpu(scorer: type[Scorer], model: Path | None) -> bool:
    """Returns whether the scorer runs on a GPU where there is one.

    It does unless it declares `uses_gpu = False`.

    A scorer that does not use a GPU gets one instance per core, not per GPU, and its Ray actors
    request no GPU. `uses_gpu` may also be a class method that takes the model's folder.
    """
    declared = getattr(scorer, "uses_gpu", True)
    return bool(declared(model) if callable(declared) else declared)


def scorer_name(scorer: type[Scorer]) -> str:
    """Returns `module:Class`, from which a worker imports the scorer."""
    return f"{scorer.__module__}:{scorer.__qualname__}"
