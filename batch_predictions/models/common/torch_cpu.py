"""How torch runs on this machine's processor: its threads, and bf16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


@contextmanager
def one_torch_thread() -> Iterator[int]:
    """Limits torch to one thread; yields the previous number of threads and restores it."""
    import torch

    previous = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield previous
    finally:
        torch.set_num_threads(previous)


@cache
def has_native_bf16() -> bool:
    """Returns whether the processor multiplies bfloat16 natively (AVX-512 BF16 or AMX; Linux)."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("flags"):
            return bool({"avx512_bf16", "amx_bf16"} & set(line.split()))
    return False
