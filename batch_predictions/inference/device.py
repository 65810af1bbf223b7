"""The device that torch scorers run on, chosen at run time."""

from __future__ import annotations

import os


def choose_device(setting: str) -> str:
    """`cuda` or `cpu`.

    Args:
        setting: auto, cpu or cuda; auto takes cuda where there is one.

    Raises:
        RuntimeError: cuda was asked for and there is none.
    """
    if setting == "cpu":
        return "cpu"
    import torch

    there = torch.cuda.is_available()
    if setting == "cuda" and not there:
        raise RuntimeError(
            "inference.device is cuda and torch sees no GPU here: set it to auto, or install a "
            "CUDA build of torch"
        )
    return "cuda" if there else "cpu"


def instances(setting: int, device: str) -> int:
    """Model instances at work at once: as set, else one for each GPU, or for each core."""
    if setting:
        return setting
    if device == "cuda":
        import torch

        return max(1, torch.cuda.device_count())
    return len(os.sched_getaffinity(0))
