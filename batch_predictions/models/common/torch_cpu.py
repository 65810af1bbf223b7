"""How torch runs on this machine's processor, and how weights are stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import nn


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


def save_weights(module: nn.Module, folder: Path, prefix: str = "") -> None:
    """Writes the weights of a module as .npy files, named after its attributes."""
    for name, weights in module.state_dict().items():
        np.save(folder / f"{prefix}{name}.npy", weights.cpu().numpy(), allow_pickle=False)


def load_weights(module: nn.Module, folder: Path, prefix: str = "") -> None:
    """Reads weights that `save_weights` wrote into a module of the same shape."""
    import torch

    files = {name: folder / f"{prefix}{name}.npy" for name in module.state_dict()}
    module.load_state_dict({name: torch.from_numpy(np.load(file)) for name, file in files.items()})
