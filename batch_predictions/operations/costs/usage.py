"""Measures the resources that a process has used so far, and its peak memory."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

_PROCESS = Path("/proc/self")
_RESET_PEAK = "5"
"""What `clear_refs` takes to count the peak from now on (Linux)."""


FOLDER = "costs"
WRITER = "~"
"""Divides a run's id and the process of a machine in the name of a file of records."""
"""The folder of a home with the records of steps, a file for each run."""


@dataclass(frozen=True)
class Usage:
    """The time and bytes that this process and its finished children have used so far.

    Attributes:
        seconds: of a clock that never goes back.
        cpu_seconds: of all cores.
        bytes_read: that this process has read from files and sockets; 0 where it is not known.
        bytes_written: that it has written to them.
    """

    seconds: float
    cpu_seconds: float
    bytes_read: int
    bytes_written: int

    @classmethod
    def read(cls) -> Usage:
        """Reads the usage from the start of the process until now."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        counters = _fields("io")
        return cls(
            time.monotonic(),
            sum(usage.ru_utime + usage.ru_stime for usage in used),
            counters.get("rchar", 0),
            counters.get("wchar", 0),
        )


def reset_peak() -> None:
    """Counts peak memory from now on, where the operating system can."""
    try:
        (_PROCESS / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return


def peak_mib() -> float:
    """Peak memory in MiB since `reset_peak` was called, else since the process began."""
    kib = _fields("status").get("VmHWM")
    if kib is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # macOS counts bytes, Linux KiB.
        kib = peak // 1024 if sys.platform == "darwin" else peak
    return kib / 1024


def _fields(name: str) -> dict[str, int]:
    """Reads the numbers in a file of /proc/self; empty where there is no such file."""
    try:
        lines = (_PROCESS / name).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    values = ((key, text.split()) for key, _, text in pairs)
    return {key: int(words[0]) for key, words in values if words and words[0].isdigit()}


@dataclass
class StepCost:
    """The time, memory and bytes that one step of a run used.

    Attributes:
        run_id: of its run.
        step: its key, such as recommendations.score.
        seconds: wall clock.
        cpu_seconds: of the process and of those that it waited for.
        peak_mib: peak memory of the process.
        bytes_read: by the process.
        bytes_written: by the process.
        assets: rows by asset, such as predictions.demand, and partition, for what was materialized.
        device: where a step scored, such as cuda:0; empty elsewhere.
        requests: to the bucket of the home, by kind; empty for a local home.
        bytes_sent: of objects that were uploaded to it.
        bytes_received: of objects that were downloaded from it.
    """

    run_id: str
    step: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    assets: dict[str, dict[str, int]] = field(default_factory=dict)
    device: str = ""
    requests: dict[str, int] = field(default_factory=dict)
    bytes_sent: int = 0
    bytes_received: int = 0
