"""Instances of a scorer in single-threaded processes, for scorers that declare them.

Scorers whose work is in Python itself declare `workers = "processes"`. A crash ends one worker, not
the step.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from batch_predictions.inference.pools.base import ShardOutcome, describe_error
from batch_predictions.inference.shards import StageTimings, Worker

_ONE_NATIVE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


class ProcessPool:
    """Single-threaded processes; one that dies is replaced, and its shard counts as failed once.

    Args:
        manifest_path: the staged partition.
        devices: one for each instance.
        block_mb: memory of one block of scores, MiB.
    """

    def __init__(self, manifest_path: Path, devices: Sequence[str], block_mb: int) -> None:
        self.manifest_path, self.block_mb = manifest_path, block_mb
        self.size = self.max_in_flight = len(devices)
        self.device = ", ".join(dict.fromkeys(devices))
        self._free_devices = deque(devices)
        self._workers: dict[Connection, tuple[BaseProcess, str]] = {}
        self._in_flight: dict[Connection, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection, (process, _) in self._workers.items():
            if connection in self._in_flight:
                # Interrupted: the next run scores the shard again.
                process.terminate()
            connection.close()
        for process, _ in self._workers.values():
            process.join()

    def submit(self, shard: str) -> None:
        """Sends a shard to a free process, or to a new one."""
        free = [connection for connection in self._workers if connection not in self._in_flight]
        connection = free[0] if free else self._spawn()
        self._in_flight[connection] = shard
        try:
            connection.send(shard)
        except OSError:
            # The process died while it was idle; `wait` finds its connection closed.
            return

    def wait(self) -> list[ShardOutcome]:
        """Blocks until a shard is finished or its process has died."""
        outcomes = []
        for connection in wait_for(list(self._in_flight)):
            assert isinstance(connection, Connection)
            shard = self._in_flight.pop(connection)
            timings = StageTimings()
            try:
                problem, *seconds = connection.recv()
                timings = StageTimings(*seconds)
            except (EOFError, OSError):
                process, device = self._workers.pop(connection)
                self._free_devices.append(device)
                process.join()
                connection.close()
                problem = f"the worker died with exit code {process.exitcode}"
            outcomes.append(ShardOutcome(shard, problem or None, timings))
        return outcomes

    def _spawn(self) -> Connection:
        # Not forked: a child would inherit locks that threads of this process hold.
        context = multiprocessing.get_context("spawn")
        connection, child_connection = context.Pipe()
        device = self._free_devices.popleft()
        config = {
            "manifest_path": str(self.manifest_path),
            "device": device,
            "block_mb": self.block_mb,
        }
        process = context.Process(
            target=_serve, args=(child_connection, json.dumps(config)), name="scorer", daemon=True
        )
        with _environment(_ONE_NATIVE_THREAD):
            process.start()
        child_connection.close()
        self._workers[connection] = process, device
        return connection


def _serve(connection: Connection, config_json: str) -> None:
    """Runs a worker process: receives names of shards, sends "" or the problem, and seconds.

    The process starts without plugins: `Worker` loads those of the manifest.
    """
    config = json.loads(config_json)
    worker = None
    while True:
        try:
            shard = str(connection.recv())
        except EOFError:  # The engine has closed the pipe or was killed.
            return
        problem, timings = "", StageTimings()
        try:
            if worker is None:
                path, block_mb = Path(config["manifest_path"]), int(config["block_mb"])
                worker = Worker(path, config["device"], block_mb, True)
            timings = worker.score(shard)
        except Exception as error:
            worker = None
            problem = describe_error(error) or ""
        connection.send((problem, *timings))


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Sets environment variables, which processes started meanwhile inherit."""
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
