"""Instructions that this machine's processor supports."""

from __future__ import annotations

from functools import cache
from pathlib import Path


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
