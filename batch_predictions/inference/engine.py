"""The batch engine: every shard through a scorer, by several instances, on this machine or others.

Whoever works (threads, processes, Ray actors) is a crew: it takes shards by name and tells how
they ended. What holds for all crews is here: a shard is handed out only when an instance is free or
soon will be, one that failed is tried again after the others, and one that failed three times fails
the step.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from batch_predictions.inference.cleanup import sweep_drafts
from batch_predictions.inference.device import assign_devices, choose_device, instances
from batch_predictions.inference.results import is_complete
from batch_predictions.inference.scorer import uses_gpu, workers_of
from batch_predictions.inference.shards import StageTimings, scorer_class
from batch_predictions.inference.staging import Shard, StagingManifest, result_path
from batch_predictions.settings import InferenceSettings

ATTEMPTS = 3

MAX_CONSECUTIVE_FAILURES = 8
"""So many failed attempts, or four of each instance, without a success between them end the step:
a full disk or a model that cannot be opened is no shard's fault, and others need not find out."""

MAX_SHARDS_IN_ERROR = 5
"""Shards that an error names before it counts the others."""


class ScoringError(RuntimeError):
    """A shard could not be scored; the message names its rows. What was scored is kept."""


@dataclass(frozen=True)
class ScoreSummary:
    """What the step did.

    Attributes:
        scored: rows scored now.
        kept: rows whose result was kept from before.
        seconds: wall time.
        device: where the scorers ran; several GPUs with commas.
        instances: how many of them.
        retried: shards that were handed out again after a failure.
        took: seconds of all instances, by what they went to.
    """

    scored: int
    kept: int
    seconds: float
    device: str
    instances: int
    retried: int = 0
    timings: StageTimings = field(default_factory=StageTimings)


@dataclass(frozen=True)
class ShardOutcome:
    """A shard that an instance is done with; `problem` says why it has no result."""

    shard: str
    problem: str | None = None
    timings: StageTimings = field(default_factory=StageTimings)


class WorkerPool(Protocol):
    """Instances of one scorer at work."""

    @property
    def device(self) -> str:
        """Where they are, for people to read."""
        ...

    @property
    def size(self) -> int:
        """How many instances there are: so many shards are scored at once."""
        ...

    @property
    def max_in_flight(self) -> int:
        """How many shards may be handed out at once; those beyond `size` wait for an instance."""
        ...

    def submit(self, shard: str) -> None:
        """Gives a shard to an instance; called only while fewer than `room` are handed out."""
        ...

    def wait(self) -> list[ShardOutcome]:
        """Waits until at least one shard has ended."""
        ...


Progress = Callable[[int, int], None]
"""Called with the rows done and the rows to score."""


OnStart = Callable[[str, int, int], None]
"""Called once there are instances to work: where they are, how many, and the rows to score."""


def score(
    manifest_path: Path,
    settings: InferenceSettings,
    progress: Progress | None = None,
    begun: OnStart | None = None,
) -> ScoreSummary:
    """Scores every shard that has no result yet, each result written whole or not at all.

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
    took = StageTimings()
    with _crew(manifest, manifest_path, len(pending), settings) as crew:
        if begun:
            begun(crew.device, crew.size, total)
        what = f"{manifest.table} {manifest.partition}"
        for shard, ended in _attempts(crew, pending, what):
            took = took.plus(ended.timings)
            if ended.problem is None:
                done += shard.rows
                if progress:
                    progress(done, total)
            else:
                retried += 1
        device, size = crew.device, crew.size
    seconds = time.perf_counter() - started
    return ScoreSummary(total, manifest.rows - total, seconds, device, size, retried, took)


def _attempts(
    crew: WorkerPool, pending: list[Shard], what: str
) -> Iterator[tuple[Shard, ShardOutcome]]:
    """Yields shards as they are scored, or failed and wait for another attempt."""
    waiting = deque(pending)
    under_way: dict[str, Shard] = {}
    failures: dict[str, list[str]] = {}
    lost: list[Shard] = []
    in_a_row, most = 0, max(MAX_CONSECUTIVE_FAILURES, 4 * crew.size)
    while under_way or (waiting and not lost):
        # No more than there is room for: what waits takes no memory, whoever is slow.
        while waiting and not lost and len(under_way) < crew.max_in_flight:
            shard = waiting.popleft()
            under_way[shard.name] = shard
            crew.submit(shard.name)
        for ended in crew.wait():
            shard = under_way.pop(ended.shard)
            if ended.problem is None:
                in_a_row = 0
                yield shard, ended
                continue
            in_a_row += 1
            failures.setdefault(shard.name, []).append(ended.problem)
            if len(failures[shard.name]) == ATTEMPTS or in_a_row >= most:
                lost.append(shard)
            else:
                # Last in the queue: a shard that always fails keeps no other from its result.
                waiting.append(shard)
                yield shard, ended
    if lost:
        told = [_format_failures(each, failures[each.name]) for each in lost[:MAX_SHARDS_IN_ERROR]]
        if len(lost) > MAX_SHARDS_IN_ERROR:
            told.append(f"and {len(lost) - MAX_SHARDS_IN_ERROR} shards more")
        if in_a_row >= most:
            told.append(
                f"the last {in_a_row} attempts all failed, so that the others were not made"
            )
        raise ScoringError(
            f"{what}: {'; '.join(told)}. What was scored is kept; run the partition again to go on"
        )


def _format_failures(shard: Shard, problems: list[str]) -> str:
    attempts = f"{len(problems)} attempt" + ("s" if len(problems) > 1 else "")
    return (
        f"{shard.name} with the {shard.rows} rows from key {shard.first_key} to {shard.last_key} "
        f"could not be scored in {attempts}: {' / '.join(dict.fromkeys(problems))}"
    )


def _crew(
    manifest: StagingManifest, path: Path, shards: int, settings: InferenceSettings
) -> AbstractContextManager[WorkerPool]:
    scorer = None
    with suppress(ImportError, AttributeError):  # Told by the workers, with the rows concerned.
        scorer = scorer_class(manifest)
    model = Path(manifest.model_folder) if manifest.model_folder else None
    if scorer and not uses_gpu(scorer, model):
        settings = settings.model_copy(update={"device": "cpu", "ray_num_gpus": 0.0})
    if settings.engine == "ray":
        from batch_predictions.inference.pools.ray import RayPool

        return RayPool.of(path, shards, settings)
    from batch_predictions.inference.pools.local import ProcessPool, ThreadPool

    device = choose_device(settings.device)
    size = min(instances(settings.workers, device), shards)
    # One instance needs no process of its own, which would import everything once more.
    kind = workers_of(scorer) if scorer and size > 1 else "threads"
    crew = ProcessPool if kind == "processes" else ThreadPool
    return crew(path, assign_devices(device, size), settings.block_mb)
