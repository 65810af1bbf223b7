"""The upper bound of scaling to two cores: the speed-up of two independent processes.

Two virtual CPUs may be two threads of one core, share a cache, or be slowed by other virtual
machines; no engine scales better than processes that share nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

Step = Callable[[], int]
"""Does a portion of work; returns its number of units."""


def python() -> Step:
    """Pure Python: a regular expression and a dictionary."""
    text = "the quick brown fox isn't lazy and jumps over the dog again " * 20
    words = re.compile(r"\w+(?:'\w+)*")
    return lambda: sum(Counter(words.findall(text)).values())


def lstm(size: int, bf16: bool) -> Step:
    """The main cost of a net: an LSTM over 64 texts of 40 words, in one thread."""
    import torch

    torch.set_num_threads(1)
    dtype = torch.bfloat16 if bf16 else torch.float32
    net, words = torch.nn.LSTM(size, size, batch_first=True), torch.randn(64, 40, size)
    net, words = net.to(dtype), words.to(dtype)

    def step() -> int:
        with torch.inference_mode():
            net(words)
        return len(words)

    return step


def two_process_speedup(
    make_step: Callable[..., Step], arguments: Iterable[Any], seconds: float = 3.0
) -> float:
    """Units of work of two simultaneous processes, each on one core, divided by those of one.

    The median of three rounds in which one and two processes alternate, without start-up.

    Args:
        make_step: called in each process with `arguments`.
        arguments: arguments of `make_step`.
        seconds: length of a measurement.
    """
    ratios = []
    for _ in range(3):
        units = [
            _measure_units(make_step, tuple(arguments), processes, seconds) for processes in (1, 2)
        ]
        ratios.append(units[1] / units[0])
    return round(statistics.median(ratios), 2)


def _measure_units(
    make_step: Callable[..., Step], arguments: tuple[Any, ...], processes: int, seconds: float
) -> int:
    """Total units of work that simultaneous processes do in a number of seconds."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    cores = sorted(os.sched_getaffinity(0))
    workers = [
        context.Process(
            target=_work,
            args=(make_step, arguments, cores[n % len(cores)], seconds, barrier, results),
        )
        for n in range(processes)
    ]
    for worker in workers:
        worker.start()
    units = sum(results.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join()
    return int(units)


def _work(
    make_step: Callable[..., Step],
    arguments: tuple[Any, ...],
    core: int,
    seconds: float,
    barrier: Barrier,
    results: Queue[int],
) -> None:
    """Runs one process: warms up, waits for the others, works until the time is over."""
    os.sched_setaffinity(0, {core})
    step = make_step(*arguments)
    step()
    barrier.wait()
    units, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        units += step()
    results.put(units)
