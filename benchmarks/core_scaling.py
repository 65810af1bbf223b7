"""What two cores do at most: as much work in two processes as in one, whatever the code.

Two virtual processors may be two threads of one core, share a cache, or be slowed by neighbours of
the machine; no engine gets more out of them than processes do that share nothing.
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
"""Does some work, and says how much."""


def python() -> Step:
    """Pure Python: a regular expression and a dictionary."""
    said = "the quick brown fox isn't lazy and jumps over the dog again " * 20
    words = re.compile(r"\w+(?:'\w+)*")
    return lambda: sum(Counter(words.findall(said)).values())


def lstm(size: int, bf16: bool) -> Step:
    """The net's heavy part alone: an LSTM over 64 texts of 40 words, one thread."""
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


def twice(work: Callable[..., Step], arguments: Iterable[Any], seconds: float = 3.0) -> float:
    """How many times the work of one process two do beside each other, a core each.

    Median of three rounds of one and two in turn; starting is not in the time.
    """
    found = []
    for _ in range(3):
        done = [_round(work, tuple(arguments), processes, seconds) for processes in (1, 2)]
        found.append(done[1] / done[0])
    return round(statistics.median(found), 2)


def _round(work: Callable[..., Step], arguments: tuple[Any, ...], n: int, seconds: float) -> int:
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(n), context.Queue()
    cores = sorted(os.sched_getaffinity(0))
    members = [
        context.Process(
            target=_work,
            args=(work, arguments, cores[each % len(cores)], seconds, barrier, answers),
        )
        for each in range(n)
    ]
    for member in members:
        member.start()
    done = sum(answers.get(timeout=300) for _ in members)
    for member in members:
        member.join()
    return int(done)


def _work(
    work: Callable[..., Step],
    arguments: tuple[Any, ...],
    core: int,
    seconds: float,
    barrier: Barrier,
    answers: Queue[int],
) -> None:
    os.sched_setaffinity(0, {core})
    step = work(*arguments)
    step()
    barrier.wait()
    done, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        done += step()
    answers.put(done)
