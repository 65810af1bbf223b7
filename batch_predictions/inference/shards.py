"""What a worker does, wherever it runs: open a scorer, score a shard, rename its result into place.

A worker is told plain strings: the manifest's path and a shard's name. It reads and writes the
shared folder itself, so no rows pass between processes or machines.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.inference.device import enter
from batch_predictions.inference.results import write
from batch_predictions.inference.scorer import EXCLUDED, Opening, Scorer
from batch_predictions.inference.staging import Manifest, Shard, result_path


class Worker:
    """One instance of a scorer, opened at its first shard."""

    def __init__(self, manifest_path: Path, device: str, block_mb: int) -> None:
        self.path, self.device, self.block_mb = manifest_path, device, block_mb
        self.manifest = Manifest.read(manifest_path)
        self.shards = {shard.name: shard for shard in self.manifest.shards}
        self.scorer: Scorer | None = None

    def open(self) -> Scorer:
        """The instance, opened once."""
        if self.scorer is None:
            enter(self.device)
            opening = Opening(
                model=Path(self.manifest.model_folder) if self.manifest.model_folder else None,
                side={each: self.path.parent / file for each, file in self.manifest.side.items()},
                parameters=self.manifest.parameters,
                device=self.device,
                block_mb=self.block_mb,
            )
            self.scorer = scorer_class(self.manifest).open(opening)
        assert self.scorer is not None
        return self.scorer

    def score(self, name: str) -> None:
        """Scores the shard of that name."""
        score_shard(self.open(), self.path, self.shards[name])


def scorer_class(manifest: Manifest) -> Any:
    """The class of the manifest's scorer."""
    module, _, name = manifest.scorer.partition(":")
    scorer: Any = importlib.import_module(module)
    for part in name.split("."):
        scorer = getattr(scorer, part)
    return scorer


def score_shard(scorer: Scorer, manifest_path: Path, shard: Shard) -> None:
    """Scores one shard and renames its result into place."""
    table = pq.read_table(manifest_path.parent / shard.name, memory_map=False).combine_chunks()
    batch = table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([])
    result = scorer.score(batch)
    if EXCLUDED not in result.schema.names:
        result = result.append_column(EXCLUDED, pa.nulls(result.num_rows, pa.string()))
    write(result, result_path(manifest_path, shard))


def one_thread() -> None:
    """Holds this process to one thread of computation, where others work beside it."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
