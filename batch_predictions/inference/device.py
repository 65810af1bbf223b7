"""Devices of torch scorers, chosen at run time."""

from __future__ import annotations

import os


def choose_device(setting: str) -> str:
    """Chooses the device of torch scorers by a setting: `cuda` or `cpu`.

    Args:
        setting: `auto`, `cpu` or `cuda`; `auto` is `cuda` where torch sees a GPU.

    Raises:
        RuntimeError: the setting is `cuda` and torch sees no GPU.
    """
    if setting == "cpu":
        return "cpu"
    import torch

    is_available = torch.cuda.is_available()
    if setting == "cuda" and not is_available:
        raise RuntimeError(
            "inference.device is cuda and torch sees no GPU here: set it to auto, or install a "
            "CUDA build of torch"
        )
    return "cuda" if is_available else "cpu"


def instance_count(setting: int, device: str) -> int:
    """Number of model instances that run at once: the setting, else one per GPU or per core."""
    if setting:
        return setting
    if device == "cuda":
        import torch

        return max(1, torch.cuda.device_count())
    return len(os.sched_getaffinity(0))


def assign_devices(device: str, size: int) -> list[str]:
    """The devices of `size` instances: the visible GPUs, round-robin.

    CUDA_VISIBLE_DEVICES selects and orders the GPUs: the first that it names is `cuda:0`.
    """
    if device != "cuda":
        return [device] * size
    import torch

    gpus = max(1, torch.cuda.device_count())
    return [f"cuda:{number % gpus}" for number in range(size)]


def set_current_device(device: str) -> None:
    """Makes a GPU the current one of this thread, so that plain `cuda` means it too."""
    if device.startswith("cuda:"):
        import torch

        torch.cuda.set_device(device)
