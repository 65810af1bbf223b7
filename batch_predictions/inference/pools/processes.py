"""Instances of a scorer in single-threaded processes, which never wait for each other.

For scorers whose work is in Python itself, and for those that declare how many rows repay the start
of processes: see `kind.worker_kind`. A crash ends one worker, not the step.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Self

from batch_predictions.inference.pools.base import ShardOutcome, describe_error
from batch_predictions.inference.shards import StageTimings, Worker

_ONE_NATIVE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
_WORKER = """
import json, sys
config = json.loads(sys.argv[1])
sys.path[:] = config.pop("path")
from batch_predictions.inference.pools.processes import serve
serve(**config)
"""


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
        self._workers: dict[Connection, tuple[subprocess.Popen[bytes], str]] = {}
        self._in_flight: dict[Connection, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for connection, (process, _) in self._workers.items():
            if connection in self._in_flight:
                # Interrupted: the next run scores the shard again.
                process.terminate()
            connection.close()
        for process, _ in self._workers.values():
            process.wait()

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
                problem = f"the worker died with exit code {process.wait()}"
                connection.close()
            outcomes.append(ShardOutcome(shard, problem or None, timings))
        return outcomes

    def _spawn(self) -> Connection:
        # Not forked: a child would inherit locks that threads of this process hold. Not spawned by
        # `multiprocessing`: it would run the script of a user who materializes without a guard.
        connection, child_connection = Pipe()
        device = self._free_devices.popleft()
        config = {
            "path": sys.path,
            "descriptor": child_connection.fileno(),
            "manifest_path": str(self.manifest_path),
            "device": device,
            "block_mb": self.block_mb,
        }
        process = subprocess.Popen(  # noqa: S603 - this interpreter, with values of the manifest
            [sys.executable, "-c", _WORKER, json.dumps(config)],
            env=os.environ | _ONE_NATIVE_THREAD,
            stdin=subprocess.DEVNULL,
            pass_fds=[child_connection.fileno()],
        )
        child_connection.close()
        self._workers[connection] = process, device
        return connection


def serve(descriptor: int, manifest_path: str, device: str, block_mb: int) -> None:
    """Runs a worker process: receives names of shards, sends "" or the problem, and seconds.

    The process starts without plugins: `Worker` loads those of the manifest.

    Args:
        descriptor: number of the open pipe to the pool.
        manifest_path: the staged partition.
        device: of the instance.
        block_mb: memory of one block of scores, MiB.
    """
    # The pool ends its workers: a Ctrl-C in the terminal reaches them too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection, worker = Connection(descriptor), None
    while True:
        try:
            shard = str(connection.recv())
        except EOFError:  # The pool has closed the pipe, or its process was killed.
            return
        problem, timings = "", StageTimings()
        try:
            if worker is None:
                worker = Worker(Path(manifest_path), device, block_mb, True)
            timings = worker.score(shard)
        except Exception as error:
            worker = None
            problem = describe_error(error) or ""
        try:
            connection.send((problem, *timings))
        except BrokenPipeError:
            return
