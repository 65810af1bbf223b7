"""Opens a scorer and scores shards: the work of a thread, a process or a Ray actor.

A worker receives plain strings: the manifest's path and names of shards. It reads and writes the
shared folder itself, so that no rows pass between processes or machines.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.core.home_bucket import fetch, share
from batch_predictions.inference.device import set_current_device
from batch_predictions.inference.results import Shard, StagingManifest, result_path, write_result
from batch_predictions.inference.scorer import EXCLUDED, Scorer, ScorerContext
from batch_predictions.tables.discovery import load_plugins


class StageTimings(NamedTuple):
    """Seconds that an instance spent, by stage."""

    opening: float = 0.0
    reading: float = 0.0
    scoring: float = 0.0
    writing: float = 0.0

    def plus(self, timings: StageTimings) -> StageTimings:
        """Adds the seconds of another instance, stage by stage."""
        return StageTimings(*(a + b for a, b in zip(self, timings, strict=True)))

    def shares(self) -> dict[str, float]:
        """Share of all seconds, by stage."""
        total = sum(self) or 1.0
        return {stage: seconds / total for stage, seconds in self._asdict().items()}


class Worker:
    """One instance of a scorer, opened at its first shard.

    Args:
        manifest_path: the staged partition.
        device: device of the instance.
        block_mb: memory of one block of scores, MiB.
        single_threaded: limits the process to one native thread, where several workers share the
            machine.
    """

    def __init__(
        self, manifest_path: Path, device: str, block_mb: int, single_threaded: bool = False
    ) -> None:
        self.path, self.device, self.block_mb = manifest_path, device, block_mb
        self.single_threaded = single_threaded
        self.manifest = StagingManifest.read(manifest_path)
        if self.manifest.shared:
            # On this machine nobody may have scored before.
            (manifest_path.parent.parent / "results").mkdir(exist_ok=True)
        self.shards = {shard.name: shard for shard in self.manifest.shards}
        self.scorer: Scorer | None = None

    def open(self) -> Scorer:
        """Opens the scorer; the first call loads the plugins, then the scorer and its model."""
        if self.scorer is None:
            set_current_device(self.device)
            model = self.manifest.model_path(self.path)
            if model is not None and self.manifest.shared:
                fetch(model)
            lookup_files = self.manifest.lookup_tables
            context = ScorerContext(
                model=model,
                lookup_tables={n: self.path.parent / file for n, file in lookup_files.items()},
                parameters=self.manifest.parameters,
                device=self.device,
                block_mb=self.block_mb,
            )
            scorer: Scorer = load_scorer_class(self.manifest).open(context)
            self.scorer = scorer
            if self.single_threaded:
                _limit_to_one_thread()  # After opening, which may import further libraries.
        return self.scorer

    def score(self, name: str) -> StageTimings:
        """Scores the shard of that name; the first call includes the time of opening."""
        started = time.perf_counter()
        scorer = self.open()
        opening = time.perf_counter() - started
        timings = score_shard(scorer, self.path, self.shards[name])._replace(opening=opening)
        if self.manifest.shared:
            share(result_path(self.path, self.shards[name]))
        return timings


def load_scorer_class(manifest: StagingManifest) -> Any:
    """Imports the manifest's plugins, then its scorer's class.

    Plugins come first: the scorer may look declarations of plugins up by name, and a worker process
    starts without any.

    Raises:
        SettingsError: a plugin cannot be imported.
        ImportError, AttributeError: the scorer cannot be imported.
    """
    load_plugins(manifest.plugins)
    module, _, name = manifest.scorer.partition(":")
    scorer: Any = importlib.import_module(module)
    for attribute in name.split("."):
        scorer = getattr(scorer, attribute)
    return scorer


def score_shard(scorer: Scorer, manifest_path: Path, shard: Shard) -> StageTimings:
    """Reads one shard, scores it and writes its result.

    Args:
        scorer: an opened scorer.
        manifest_path: of the staged partition, beside which the shards are.
        shard: to score.
    """
    started = time.perf_counter()
    rows = read_shard(scorer, manifest_path.parent / shard.name)
    read = time.perf_counter()
    result = scorer.score(rows)
    scored = time.perf_counter()
    if EXCLUDED not in result.schema.names:
        result = result.append_column(EXCLUDED, pa.nulls(result.num_rows, pa.string()))
    write_result(result, result_path(manifest_path, shard))
    return StageTimings(0.0, read - started, scored - read, time.perf_counter() - scored)


def read_shard(scorer: Scorer, path: Path) -> pa.RecordBatch:
    """The staged rows of a shard, as a scorer gets them."""
    encoded = list(getattr(scorer, "dictionary_columns", ()))
    table = pq.read_table(path, memory_map=False, read_dictionary=encoded).combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([])


def _limit_to_one_thread() -> None:
    """Limits the native thread pools of this process to one thread."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
