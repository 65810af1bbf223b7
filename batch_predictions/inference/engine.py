"""The batch engine: sends every staged shard through a scorer, by several instances.

The workers (threads, processes, Ray actors) are a pool: it takes shards by name and reports how
they ended. The rules that hold for all pools are here: a shard is submitted only when an instance
is free or soon will be, a failed shard is retried after the others, and three failures of one
shard fail the step.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from batch_predictions.inference.cleanup import sweep_drafts
from batch_predictions.inference.pools.base import ScoringError, ShardOutcome, WorkerPool
from batch_predictions.inference.pools.factory import make_pool
from batch_predictions.inference.results import is_complete
from batch_predictions.inference.shards import StageTimings
from batch_predictions.inference.staging import Shard, StagingManifest, result_path
from batch_predictions.settings import InferenceSettings

__all__ = ["OnProgress", "OnStart", "ScoreSummary", "ScoringError", "score"]

MAX_ATTEMPTS = 3
"""Attempts at one shard."""
MAX_CONSECUTIVE_FAILURES = 8
"""Abort after this many failures in a row (or 4 x instances): a full disk or an unreadable model
is not one shard's fault."""
MAX_SHARDS_IN_ERROR = 5
"""Shards that an error names before it counts the others."""

OnProgress = Callable[[int, int], None]
"""Called with the rows done and the rows to score."""
OnStart = Callable[[str, int, int], None]
"""Called when the instances are there: their device, their number, and the rows to score."""


@dataclass(frozen=True)
class ScoreSummary:
    """What one call of `score` did.

    Attributes:
        scored: rows scored now.
        kept: rows whose result was kept from an earlier run.
        seconds: wall time.
        device: where the scorers ran; several GPUs are separated by commas.
        instances: how many of them.
        retried: shards that were submitted again after a failure.
        timings: seconds of all instances, by stage.
    """

    scored: int
    kept: int
    seconds: float
    device: str
    instances: int
    retried: int = 0
    timings: StageTimings = field(default_factory=StageTimings)


def score(
    manifest_path: Path,
    settings: InferenceSettings,
    on_progress: OnProgress | None = None,
    on_start: OnStart | None = None,
) -> ScoreSummary:
    """Scores every shard that has no result yet; each result is written whole or not at all.

    Raises:
        ScoringError: a shard failed three times. Results of other shards are kept.
    """
    manifest = StagingManifest.read(manifest_path)
    pending = [s for s in manifest.shards if not is_complete(result_path(manifest_path, s))]
    total = sum(shard.rows for shard in pending)
    if not pending:
        return ScoreSummary(0, manifest.rows, 0.0, "cpu", 0)
    started = time.perf_counter()
    results = result_path(manifest_path, pending[0]).parent
    results.mkdir(exist_ok=True)
    sweep_drafts(results)
    done = retried = 0
    timings = StageTimings()
    with make_pool(manifest, manifest_path, len(pending), settings) as pool:
        if on_start:
            on_start(pool.device, pool.size, total)
        partition = f"{manifest.table} {manifest.partition}"
        for shard, outcome in _score_shards(pool, pending, partition):
            timings = timings.plus(outcome.timings)
            if outcome.problem is None:
                done += shard.rows
                if on_progress:
                    on_progress(done, total)
            else:
                retried += 1
        device, size = pool.device, pool.size
    seconds = time.perf_counter() - started
    return ScoreSummary(total, manifest.rows - total, seconds, device, size, retried, timings)


def _score_shards(
    pool: WorkerPool, pending: list[Shard], partition: str
) -> Iterator[tuple[Shard, ShardOutcome]]:
    """Yields every shard that was scored, and every failed attempt that is to be repeated."""
    waiting = deque(pending)
    in_flight: dict[str, Shard] = {}
    problems: dict[str, list[str]] = {}
    failed: list[Shard] = []
    consecutive, limit = 0, max(MAX_CONSECUTIVE_FAILURES, 4 * pool.size)
    while in_flight or (waiting and not failed):
        # Never more than the pool takes: what waits here costs no memory, however slow it is.
        while waiting and not failed and len(in_flight) < pool.max_in_flight:
            shard = waiting.popleft()
            in_flight[shard.name] = shard
            pool.submit(shard.name)
        for outcome in pool.wait():
            shard = in_flight.pop(outcome.shard)
            if outcome.problem is None:
                consecutive = 0
                yield shard, outcome
                continue
            consecutive += 1
            problems.setdefault(shard.name, []).append(outcome.problem)
            if len(problems[shard.name]) == MAX_ATTEMPTS or consecutive >= limit:
                failed.append(shard)
            else:
                # Last in the queue: a shard that always fails does not delay the others.
                waiting.append(shard)
                yield shard, outcome
    if failed:
        aborted = consecutive if consecutive >= limit else 0
        reasons = _format_failures(failed, problems, aborted)
        raise ScoringError(
            f"{partition}: {reasons}. What was scored is kept; run the partition again to go on"
        )


def _format_failures(failed: list[Shard], problems: dict[str, list[str]], aborted: int) -> str:
    """The failed shards, their rows and their problems; `aborted` failures in a row ended it."""
    parts = []
    for shard in failed[:MAX_SHARDS_IN_ERROR]:
        attempts = f"{len(problems[shard.name])} attempt"
        attempts += "s" if len(problems[shard.name]) > 1 else ""
        parts.append(
            f"{shard.name} with the {shard.rows} rows from key {shard.first_key} to "
            f"{shard.last_key} could not be scored in {attempts}: "
            f"{' / '.join(dict.fromkeys(problems[shard.name]))}"
        )
    if len(failed) > MAX_SHARDS_IN_ERROR:
        parts.append(f"and {len(failed) - MAX_SHARDS_IN_ERROR} more shards")
    if aborted:
        parts.append(f"aborted after {aborted} failed attempts in a row")
    return "; ".join(parts)
