"""The local crews: instances of a scorer in threads of this process, or in processes.

Threads are the default: scorers that work in torch, numba, numpy or LightGBM let go of the
interpreter's lock, and threads share one memory-mapped model where each process imports and loads
its own (2.5 to 5 s and hundreds of MiB). A scorer whose work is in Python itself declares
`workers = "processes"`; then a crash, too, ends one worker and not the step.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from batch_predictions.inference.engine import ShardOutcome
from batch_predictions.inference.shards import StageTimings, Worker

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


class ThreadPool:
    """Threads of this process; each opens one instance, at its first shard.

    Args:
        path: the manifest's.
        devices: one for each instance.
        block_mb: memory of one block of scores, MiB.
    """

    def __init__(self, path: Path, devices: Sequence[str], block_mb: int) -> None:
        self.path, self.block_mb, self.size = path, block_mb, len(devices)
        # One ahead for each, by name alone: a thread goes on before the engine has heard of its
        # last shard, which on a busy machine takes milliseconds.
        self.max_in_flight = 2 * self.size
        self.device = ", ".join(dict.fromkeys(devices))
        self.devices: SimpleQueue[str] = SimpleQueue()
        for each in devices:
            self.devices.put(each)
        self.own = threading.local()
        self.under_way: dict[Future[StageTimings], str] = {}

    def __enter__(self) -> Self:
        self.pool = ThreadPoolExecutor(self.size, thread_name_prefix="scorer")
        self.limits = _one_thread_each(self.size)
        self.limits.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.limits.__exit__(kind, error, trace)

    def submit(self, shard: str) -> None:
        """Gives a shard to the next free thread."""
        self.under_way[self.pool.submit(self._work, shard)] = shard

    def wait(self) -> list[ShardOutcome]:
        """Waits until at least one shard has ended."""
        done, _ = wait(self.under_way, return_when=FIRST_COMPLETED)
        return [_ended(self.under_way.pop(each), each) for each in done]

    def _work(self, shard: str) -> StageTimings:
        if not hasattr(self.own, "device"):
            self.own.device, self.own.worker = self.devices.get_nowait(), None
        try:
            if self.own.worker is None:
                self.own.worker = Worker(self.path, self.own.device, self.block_mb, self.size > 1)
            took: StageTimings = self.own.worker.score(shard)
        except BaseException:
            # Whatever state a failure left in the instance, the next shard gets a new one.
            self.own.worker = None
            raise
        return took


class ProcessPool:
    """Processes of one thread each; one that dies is replaced, and its shard has failed once.

    Args:
        path: the manifest's.
        devices: one for each instance.
        block_mb: memory of one block of scores, MiB.
    """

    def __init__(self, path: Path, devices: Sequence[str], block_mb: int) -> None:
        self.path, self.block_mb = path, block_mb
        self.size = self.max_in_flight = len(devices)
        self.device = ", ".join(dict.fromkeys(devices))
        self.devices = deque(devices)
        self.workers: dict[Connection, tuple[BaseProcess, str]] = {}
        self.under_way: dict[Connection, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for line, (member, _) in self.workers.items():
            if line in self.under_way:
                # Interrupted: a result that was not renamed yet is scored again next time.
                member.terminate()
            line.close()
        for member, _ in self.workers.values():
            member.join()

    def submit(self, shard: str) -> None:
        """Gives a shard to a free process, a new one where none is."""
        free = [line for line in self.workers if line not in self.under_way]
        line = free[0] if free else self._spawn()
        self.under_way[line] = shard
        try:
            line.send(shard)
        except OSError:
            # It died while it was idle; `wait` finds its line closed.
            return

    def wait(self) -> list[ShardOutcome]:
        """Waits until a shard has ended or its worker has died."""
        ended = []
        for line in wait_for(list(self.under_way)):
            assert isinstance(line, Connection)
            shard = self.under_way.pop(line)
            took = StageTimings()
            try:
                answer, *seconds = line.recv()
                took = StageTimings(*seconds)
            except (EOFError, OSError):
                member, device = self.workers.pop(line)
                self.devices.append(device)  # The next one hired takes its place.
                member.join()
                line.close()
                answer = f"the worker died with exit code {member.exitcode}"
            ended.append(ShardOutcome(shard, answer or None, took))
        return ended

    def _spawn(self) -> Connection:
        # Spawned: a forked child would inherit locks of threads that it does not have.
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        device = self.devices.popleft()
        order = {"path": str(self.path), "device": device, "block_mb": self.block_mb}
        member = context.Process(
            target=_serve, args=(theirs, json.dumps(order)), name="scorer", daemon=True
        )
        with _environment(_ONE_THREAD):
            member.start()
        theirs.close()
        self.workers[mine] = member, device
        return mine


def _serve(line: Connection, order: str) -> None:
    """A worker process: shards by name come in; "" or what went wrong, and seconds, go out."""
    what = json.loads(order)
    worker = None
    while True:
        try:
            shard = str(line.recv())
        except EOFError:  # The engine has ended, or was killed.
            return
        answer, took = "", StageTimings()
        try:
            if worker is None:
                worker = Worker(Path(what["path"]), what["device"], int(what["block_mb"]), True)
            took = worker.score(shard)
        except Exception as error:
            worker = None
            answer = _problem(error) or ""
        line.send((answer, *took))


def _ended(shard: str, work: Future[StageTimings]) -> ShardOutcome:
    problem = _problem(work.exception())
    return ShardOutcome(shard, problem) if problem else ShardOutcome(shard, None, work.result())


def _problem(error: BaseException | None) -> str | None:
    if error is not None and not isinstance(error, Exception):
        raise error  # Interrupted, not failed.
    return None if error is None else f"{type(error).__name__}: {error}"


@contextmanager
def _one_thread_each(size: int) -> Iterator[None]:
    """Instances side by side take one thread of computation each; two pools on two cores fight.

    BLAS has one thread even under a single instance: its sums, and so the results' last bits,
    change with threads, and on the small systems of a scorer a second one only waits.
    """
    import threadpoolctl

    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else len(os.sched_getaffinity(0))
    with threadpoolctl.threadpool_limits(1, None if size > 1 else "blas"):
        if torch is not None and size > 1:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch = sys.modules.get("torch")
            if torch is not None and size > 1:
                torch.set_num_threads(before)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
