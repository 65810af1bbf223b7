"""Instances of a scorer in threads of this process: the default.

Work in torch, numba, numpy and LightGBM releases the GIL, and threads share one memory-mapped
model, where every process would import the libraries and load the model again
(`docs/figures/performance.md`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Self

from batch_predictions.inference.pools.base import ShardOutcome, describe_error
from batch_predictions.inference.shards import StageTimings, Worker


class ThreadPool:
    """Threads of this process; a thread opens its instance at its first shard.

    Args:
        manifest_path: the staged partition.
        devices: one for each instance.
        block_mb: memory of one block of scores, MiB.
    """

    def __init__(self, manifest_path: Path, devices: Sequence[str], block_mb: int) -> None:
        self.manifest_path, self.block_mb, self.size = manifest_path, block_mb, len(devices)
        # One queued shard per thread, so that a thread need not wait until the engine has handled
        # its last outcome, which takes milliseconds on a busy machine.
        self.max_in_flight = 2 * self.size
        self.device = ", ".join(dict.fromkeys(devices))
        self._free_devices: SimpleQueue[str] = SimpleQueue()
        for device in devices:
            self._free_devices.put(device)
        self._thread = threading.local()
        self._in_flight: dict[Future[StageTimings], str] = {}

    def __enter__(self) -> Self:
        self._executor = ThreadPoolExecutor(self.size, thread_name_prefix="scorer")
        self._limits = _limit_native_threads(self.size)
        self._limits.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._limits.__exit__(None, None, None)

    def submit(self, shard: str) -> None:
        """Queues a shard for the next free thread."""
        self._in_flight[self._executor.submit(self._score, shard)] = shard

    def wait(self) -> list[ShardOutcome]:
        """Blocks until at least one shard is finished."""
        done, _ = wait(self._in_flight, return_when=FIRST_COMPLETED)
        return [_outcome(self._in_flight.pop(future), future) for future in done]

    def _score(self, shard: str) -> StageTimings:
        thread = self._thread
        if not hasattr(thread, "device"):
            thread.device, thread.worker = self._free_devices.get_nowait(), None
        try:
            if thread.worker is None:
                thread.worker = Worker(
                    self.manifest_path, thread.device, self.block_mb, self.size > 1
                )
            timings: StageTimings = thread.worker.score(shard)
        except BaseException:
            # The failed instance may be in any state: the next shard opens a new one.
            thread.worker = None
            raise
        return timings


def _outcome(shard: str, future: Future[StageTimings]) -> ShardOutcome:
    problem = describe_error(future.exception())
    return ShardOutcome(shard, problem) if problem else ShardOutcome(shard, None, future.result())


@contextmanager
def _limit_native_threads(size: int) -> Iterator[None]:
    """Limits native thread pools to one thread where several instances share the cores.

    BLAS gets one thread even for a single instance: the last bits of its sums change with the
    number of threads, and small systems gain nothing from a second one.

    Args:
        size: number of instances.
    """
    import threadpoolctl

    torch = sys.modules.get("torch")
    torch_threads = torch.get_num_threads() if torch is not None else len(os.sched_getaffinity(0))
    with threadpoolctl.threadpool_limits(1, None if size > 1 else "blas"):
        if torch is not None and size > 1:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch = sys.modules.get("torch")
            if torch is not None and size > 1:
                torch.set_num_threads(torch_threads)
