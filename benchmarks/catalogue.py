"""Synthetic users and items for the engine's benchmarks, and a scorer of top-k lists."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.inference import staging
from batch_predictions.inference.scorer import ScorerContext
from batch_predictions.inference.staging import StagingSpec
from batch_predictions.settings import DuckDBSettings, Settings
from batch_predictions.tables import RECOMMENDATIONS
from batch_predictions.warehouse import Warehouse

PARTITION = "2024-03-03"


class CatalogueScorer:
    """The best items of users (user_id, vector), as rows of predictions.recommendations."""

    version: ClassVar[str] = "1"

    def __init__(self, items: Path, k: int) -> None:
        from batch_predictions.models.common.topk import Index

        targets = np.load(items, mmap_mode="c")
        self.index, self.k = Index(targets), k
        self.names = pa.array([f"i{item:07d}" for item in range(len(targets))])

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Memory-maps the catalogue and builds its index."""
        return cls(Path(context.parameters["items"]), int(context.parameters["k"]))

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """K rows for each user."""
        vectors = rows["vector"]
        queries = vectors.flatten().to_numpy().reshape(len(rows), -1)
        positions, scores = self.index.search(queries, self.k)
        users = np.repeat(np.arange(len(rows), dtype=np.int32), self.k)
        reason = pa.DictionaryArray.from_arrays(np.zeros(len(users), np.int8), ["because"])
        return pa.RecordBatch.from_arrays(
            [
                pa.DictionaryArray.from_arrays(users, rows["user_id"]),
                pa.array(np.tile(np.arange(1, self.k + 1), len(rows))),
                self.names.take(pa.array(positions.ravel())),
                pa.array(scores.ravel().astype(np.float64)),
                reason,
            ],
            names=["user_id", "rank", "item_id", "score", "reason"],
        )


def write_catalogue(folder: Path, users: int, items: int, factors: int) -> None:
    """Writes users.parquet and items.npy, in chunks of users."""
    random = np.random.default_rng(5)
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema({"user_id": pa.string(), "vector": pa.list_(pa.float32())})
    with pq.ParquetWriter(folder / "users.parquet", schema) as writer:
        for low in range(0, users, 50_000):
            n = min(50_000, users - low)
            values = random.standard_normal(n * factors, dtype=np.float32)
            offsets = pa.array(np.arange(0, n * factors + 1, factors, dtype=np.int32))
            names = pa.array([f"u{user:08d}" for user in range(low, low + n)])
            vectors = pa.ListArray.from_arrays(offsets, pa.array(values))
            writer.write_table(pa.table([names, vectors], schema=schema))
    np.save(folder / "items.npy", random.standard_normal((items, factors), dtype=np.float32))


def open_warehouse(folder: Path) -> Warehouse:
    """A warehouse in a folder; DuckDB spills to disk beyond 512 MB."""
    duckdb = DuckDBSettings(memory_limit="512MB", threads=2)
    return Warehouse.of(Settings(home=folder / "home", duckdb=duckdb))


def stage_users(folder: Path, k: int, shard_rows: int) -> Path:
    """Stages all users; returns the manifest's path."""
    spec = StagingSpec(
        table=RECOMMENDATIONS,
        partition=PARTITION,
        rows=f"select user_id, vector from read_parquet('{folder / 'users.parquet'}')",
        key=("user_id",),
        scorer=CatalogueScorer,
        parameters={"items": str(folder / "items.npy"), "k": k},
        model_version="benchmark",
        shard_rows=shard_rows,
    )
    return staging.stage(open_warehouse(folder), folder / "home" / "inference", spec)
