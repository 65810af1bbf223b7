"""What this machine's processor multiplies natively."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def native_bf16() -> bool:
    """Whether bfloat16 products are native (AVX-512 BF16 or AMX on Linux)."""
    about = Path("/proc/cpuinfo")
    if not about.exists():
        return False
    for line in about.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("flags"):
            return bool({"avx512_bf16", "amx_bf16"} & set(line.split()))
    return False
