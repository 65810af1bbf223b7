"""The local engine: several instances of a scorer in threads of this process.

Threads, not processes: the scorers' work is in torch, numpy and LightGBM, which let go of the
interpreter's lock, and threads share one memory-mapped model where processes would each import and
load it (2.5 to 5 s and hundreds of MiB a worker).
"""

from __future__ import annotations

import importlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.inference.device import choose_device, instances
from batch_predictions.inference.scorer import EXCLUDED, Opening, Scorer
from batch_predictions.inference.staging import Manifest, Shard, result_path
from batch_predictions.settings import InferenceSettings


class ScoringError(RuntimeError):
    """A shard could not be scored; the message names its rows. What was scored is kept."""


@dataclass(frozen=True)
class Scored:
    """What the step did: rows scored now, rows whose result was kept from before, seconds."""

    scored: int
    kept: int
    seconds: float
    device: str
    instances: int


Progress = Callable[[int, int], None]
"""Called with the rows done and the rows to score."""


def score(
    manifest_path: Path, settings: InferenceSettings, progress: Progress | None = None
) -> Scored:
    """Scores every shard that has no result yet, each result written whole or not at all.

    Raises:
        ScoringError: a shard failed. Results of other shards are kept for the next try.
    """
    manifest = Manifest.read(manifest_path)
    pending = [s for s in manifest.shards if not result_path(manifest_path, s).exists()]
    total = sum(shard.rows for shard in pending)
    started = time.perf_counter()
    device = choose_device(settings.device) if pending else "cpu"
    workers = min(instances(settings.workers, device), len(pending))
    if pending:
        result_path(manifest_path, pending[0]).parent.mkdir(exist_ok=True)
        opening = _opening(manifest, manifest_path, device, settings.block_mb)
        with _one_torch_thread_each(workers):
            done = 0
            for shard in _in_threads(manifest, manifest_path, pending, opening, workers):
                done += shard.rows
                if progress:
                    progress(done, total)
    return Scored(
        scored=total,
        kept=manifest.rows - total,
        seconds=time.perf_counter() - started,
        device=device,
        instances=workers,
    )


def score_shard(scorer: Scorer, manifest_path: Path, shard: Shard) -> None:
    """Scores one shard and renames its result into place."""
    table = pq.read_table(manifest_path.parent / shard.name, memory_map=False).combine_chunks()
    batch = table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([])
    result = scorer.score(batch)
    if EXCLUDED not in result.schema.names:
        result = result.append_column(EXCLUDED, pa.nulls(result.num_rows, pa.string()))
    target = result_path(manifest_path, shard)
    draft = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        pq.write_table(pa.Table.from_batches([result]), draft, compression="zstd")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def open_scorer(manifest: Manifest, opening: Opening) -> Scorer:
    """An instance of the manifest's scorer."""
    module, _, name = manifest.scorer.partition(":")
    scorer: Any = importlib.import_module(module)
    for part in name.split("."):
        scorer = getattr(scorer, part)
    opened: Scorer = scorer.open(opening)
    return opened


def _opening(manifest: Manifest, manifest_path: Path, device: str, block_mb: int) -> Opening:
    return Opening(
        model=Path(manifest.model_folder) if manifest.model_folder else None,
        side={name: manifest_path.parent / file for name, file in manifest.side.items()},
        parameters=manifest.parameters,
        device=device,
        block_mb=block_mb,
    )


def _in_threads(
    manifest: Manifest,
    manifest_path: Path,
    pending: list[Shard],
    opening: Opening,
    workers: int,
) -> Iterator[Shard]:
    """Yields shards as they are scored; each thread opens one instance, at its first shard."""
    own = threading.local()

    def work(shard: Shard) -> Shard:
        if not hasattr(own, "scorer"):
            own.scorer = open_scorer(manifest, opening)
        score_shard(own.scorer, manifest_path, shard)
        return shard

    with ThreadPoolExecutor(workers, thread_name_prefix="scorer") as pool:
        waiting: dict[Future[Shard], Shard] = {pool.submit(work, each): each for each in pending}
        try:
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    shard = waiting.pop(future)
                    error = future.exception()
                    if error is not None:
                        raise ScoringError(
                            f"{manifest.table} {manifest.partition}: {shard.name} with the "
                            f"{shard.rows} rows from key {shard.first_key} to {shard.last_key} "
                            f"could not be scored: {error}. What was scored is kept; run the "
                            "partition again to go on"
                        ) from error
                    yield shard
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def _one_torch_thread_each(workers: int) -> Iterator[None]:
    """Instances side by side take one torch thread each; two pools on two cores fight."""
    import sys

    torch = sys.modules.get("torch")
    if workers < 2 or torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
