"""The batch engine: scores every staged shard with several instances of a scorer.

A pool of workers (threads, processes, Ray actors) takes shards by name and reports their outcomes.
The rules for all pools are here: a shard is submitted only when an instance is free or soon will
be, a failed shard is retried after the others, and three failures of one shard fail the step.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from batch_predictions.core.redaction import shows_identifiers
from batch_predictions.inference.cleanup import remove_stale_drafts
from batch_predictions.inference.pools.base import ScoringError, ShardOutcome, WorkerPool
from batch_predictions.inference.pools.pool_factory import make_pool
from batch_predictions.inference.results import (
    Shard,
    StagingManifest,
    fetch_stage,
    is_intact,
    result_path,
)
from batch_predictions.inference.shards import StageTimings
from batch_predictions.settings import InferenceSettings

__all__ = ["OnProgress", "OnStart", "ScoreSummary", "ScoringError", "score"]

MAX_ATTEMPTS = 3
"""Attempts at one shard before the step fails."""
MAX_CONSECUTIVE_FAILURES = 8
"""Abort after this many failures in a row (or 4 x instances): a full disk or an unreadable model
is not one shard's fault."""
MAX_SHARDS_IN_ERROR = 5
"""An error names this many failed shards and counts the others."""

OnProgress = Callable[[int, int], None]
"""Called with the rows scored so far and the rows to score."""
OnStart = Callable[[str, int, int], None]
"""Called before the first shard with device, number of instances and rows to score."""


@dataclass(frozen=True)
class ScoreSummary:
    """Summary of a call of `score`: rows, time and devices.

    Attributes:
        scored_rows: rows that this call scored.
        reused_rows: rows whose results an earlier run wrote.
        seconds: wall time.
        device: where the scorers ran; several GPUs are separated by commas.
        instances: number of scorers.
        retries: shards that were submitted again after a failure.
        timings: seconds of all instances, by stage.
    """

    scored_rows: int
    reused_rows: int
    seconds: float
    device: str
    instances: int
    retries: int = 0
    timings: StageTimings = field(default_factory=StageTimings)


def score(
    manifest_path: Path,
    settings: InferenceSettings,
    on_progress: OnProgress | None = None,
    on_start: OnStart | None = None,
) -> ScoreSummary:
    """Scores every shard that has no result yet, or whose result is not as it was written.

    Args:
        manifest_path: the staged partition.
        settings: engine, workers and device.
        on_progress: called after every scored shard.
        on_start: called when the pool is ready.

    Raises:
        ScoringError: a shard failed three times, or too many failed in a row. Results of other
            shards are kept.
        HomeError: the bucket of the home cannot be read.
    """
    fetch_stage(manifest_path)
    manifest = StagingManifest.read(manifest_path)
    pending = [s for s in manifest.shards if not is_intact(result_path(manifest_path, s))]
    row_count = sum(shard.rows for shard in pending)
    if not pending:
        return ScoreSummary(0, manifest.rows, 0.0, "cpu", 0)
    started = time.perf_counter()
    results = result_path(manifest_path, pending[0]).parent
    results.mkdir(exist_ok=True)
    remove_stale_drafts(results)
    scored_rows = retries = 0
    timings = StageTimings()
    with make_pool(manifest, manifest_path, pending, settings) as pool:
        if on_start:
            on_start(pool.device, pool.size, row_count)
        partition = f"{manifest.table} {manifest.partition}"
        for shard, outcome in _score_shards(pool, pending, partition):
            timings = timings.plus(outcome.timings)
            if outcome.problem is None:
                scored_rows += shard.rows
                if on_progress:
                    on_progress(scored_rows, row_count)
            else:
                retries += 1
        device, size = pool.device, pool.size
    if manifest.shared:
        # Other machines have written them.
        fetch_stage(manifest_path)
    seconds = time.perf_counter() - started
    reused_rows = manifest.rows - row_count
    return ScoreSummary(row_count, reused_rows, seconds, device, size, retries, timings)


def _score_shards(
    pool: WorkerPool, pending: list[Shard], partition: str
) -> Iterator[tuple[Shard, ShardOutcome]]:
    """Yields the outcome of every scored shard, and of every attempt that is repeated.

    Raises:
        ScoringError: a shard failed three times, or too many failed in a row.
    """
    waiting = deque(pending)
    in_flight: dict[str, Shard] = {}
    problems: dict[str, list[str]] = {}
    failed: list[Shard] = []
    consecutive, limit = 0, max(MAX_CONSECUTIVE_FAILURES, 4 * pool.size)
    while in_flight or (waiting and not failed):
        # Bounded, so that memory does not grow with the partition.
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
                # At the end of the queue, so that a shard that always fails does not delay others.
                waiting.append(shard)
                yield shard, outcome
    if failed:
        aborted = consecutive if consecutive >= limit else 0
        reasons = _format_failures(failed, problems, aborted)
        raise ScoringError(
            f"{partition}: {reasons}. Results of the scored shards are kept; run the partition "
            "again to score the rest"
        )


def _format_failures(failed: list[Shard], problems: dict[str, list[str]], aborted: int) -> str:
    """Formats failed shards with their rows and problems.

    Args:
        failed: shards that failed for good.
        problems: problems of all attempts, by name of the shard.
        aborted: number of failures in a row that aborted the step; 0 if it was not aborted.
    """
    messages = []
    for shard in failed[:MAX_SHARDS_IN_ERROR]:
        attempts = f"{len(problems[shard.name])} attempt"
        attempts += "s" if len(problems[shard.name]) > 1 else ""
        keys = f" from key {shard.first_key} to {shard.last_key}" if shows_identifiers() else ""
        messages.append(
            f"{shard.name} with {shard.rows} rows{keys} could not be scored in {attempts}: "
            f"{' / '.join(dict.fromkeys(problems[shard.name]))}"
        )
    if len(failed) > MAX_SHARDS_IN_ERROR:
        messages.append(f"and {len(failed) - MAX_SHARDS_IN_ERROR} more shards")
    if aborted:
        messages.append(f"aborted after {aborted} failed attempts in a row")
    return "; ".join(messages)
