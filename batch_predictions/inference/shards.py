"""What a worker does, wherever it runs: open a scorer, score a shard, rename its result into place.

A worker is told plain strings: the manifest's path and a shard's name. It reads and writes the
shared folder itself, so no rows pass between processes or machines.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.inference.device import set_current_device
from batch_predictions.inference.results import write
from batch_predictions.inference.scorer import EXCLUDED, Scorer, ScorerContext
from batch_predictions.inference.staging import Shard, StagingManifest, result_path


class StageTimings(NamedTuple):
    """Where an instance's seconds went."""

    opening: float = 0.0
    reading: float = 0.0
    scoring: float = 0.0
    writing: float = 0.0

    def plus(self, more: StageTimings) -> StageTimings:
        """The sum."""
        return StageTimings(*(a + b for a, b in zip(self, more, strict=True)))

    def shares(self) -> dict[str, float]:
        """Of all seconds, by what they went to."""
        whole = sum(self) or 1.0
        return {name: value / whole for name, value in self._asdict().items()}


class Worker:
    """One instance of a scorer, opened at its first shard.

    Args:
        manifest_path: what is scored.
        device: where the instance is to be.
        block_mb: memory of one block of scores, MiB.
        beside_others: others work beside it, so that its process is held to one thread.
    """

    def __init__(
        self, manifest_path: Path, device: str, block_mb: int, beside_others: bool = False
    ) -> None:
        self.path, self.device, self.block_mb = manifest_path, device, block_mb
        self.beside_others = beside_others
        self.manifest = StagingManifest.read(manifest_path)
        self.shards = {shard.name: shard for shard in self.manifest.shards}
        self.scorer: Scorer | None = None

    def open(self) -> Scorer:
        """The instance, opened once."""
        if self.scorer is None:
            set_current_device(self.device)
            opening = ScorerContext(
                model=Path(self.manifest.model_folder) if self.manifest.model_folder else None,
                lookup_tables={
                    each: self.path.parent / file
                    for each, file in self.manifest.lookup_tables.items()
                },
                parameters=self.manifest.parameters,
                device=self.device,
                block_mb=self.block_mb,
            )
            self.scorer = scorer_class(self.manifest).open(opening)
            if self.beside_others:
                _one_thread()  # Libraries may have been imported just now.
        assert self.scorer is not None
        return self.scorer

    def score(self, name: str) -> StageTimings:
        """Scores the shard of that name; with the first, opening the instance took its time."""
        began = time.perf_counter()
        scorer = self.open()
        opening = time.perf_counter() - began
        return score_shard(scorer, self.path, self.shards[name])._replace(opening=opening)


def scorer_class(manifest: StagingManifest) -> Any:
    """The class of the manifest's scorer."""
    module, _, name = manifest.scorer.partition(":")
    scorer: Any = importlib.import_module(module)
    for part in name.split("."):
        scorer = getattr(scorer, part)
    return scorer


def score_shard(scorer: Scorer, manifest_path: Path, shard: Shard) -> StageTimings:
    """Scores one shard and renames its result into place."""
    began = time.perf_counter()
    table = pq.read_table(manifest_path.parent / shard.name, memory_map=False).combine_chunks()
    batch = table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([])
    read = time.perf_counter()
    result = scorer.score(batch)
    scored = time.perf_counter()
    if EXCLUDED not in result.schema.names:
        result = result.append_column(EXCLUDED, pa.nulls(result.num_rows, pa.string()))
    write(result, result_path(manifest_path, shard))
    return StageTimings(0.0, read - began, scored - read, time.perf_counter() - scored)


def _one_thread() -> None:
    """Holds this process to one thread of computation, where others work beside it."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
