"""The protocol between the engine and its workers: shards are submitted by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from batch_predictions.inference.shards import StageTimings


class ScoringError(RuntimeError):
    """A shard could not be scored; the message names its rows. Other results are kept."""


@dataclass(frozen=True)
class ShardOutcome:
    """Success or failure of one attempt at a shard.

    Attributes:
        shard: name of the shard.
        problem: why it has no result; None for success.
        timings: seconds that the instance spent on it, by stage.
    """

    shard: str
    problem: str | None = None
    timings: StageTimings = field(default_factory=StageTimings)


class WorkerPool(Protocol):
    """Instances of one scorer that score shards in parallel."""

    @property
    def device(self) -> str:
        """Devices of the instances, for log lines: `cpu`, `cuda:0, cuda:1`, `ray (cpu)`."""
        ...

    @property
    def size(self) -> int:
        """Number of instances of the scorer."""
        ...

    @property
    def max_in_flight(self) -> int:
        """Maximum of submitted, unfinished shards; those beyond `size` wait in the pool."""
        ...

    def submit(self, shard: str) -> None:
        """Submits a shard; called only while fewer than `max_in_flight` are unfinished."""
        ...

    def wait(self) -> list[ShardOutcome]:
        """Blocks until at least one shard is finished; returns the outcomes."""
        ...


def describe_error(error: BaseException | None) -> str | None:
    """Formats an error as `Type: message`; None where there is none.

    Raises:
        BaseException: the error itself if it is no `Exception`, such as KeyboardInterrupt.
    """
    if error is not None and not isinstance(error, Exception):
        raise error
    return None if error is None else f"{type(error).__name__}: {error}"
