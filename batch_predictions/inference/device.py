"""The device that torch scorers run on, chosen at run time, and how batches get there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

if TYPE_CHECKING:
    import torch


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


def assign_devices(device: str, size: int) -> list[str]:
    """The device of each of `size` instances: the GPUs that there are, in turn.

    Which these are, and their order, is CUDA_VISIBLE_DEVICES': the first that it names is cuda:0.
    """
    if device != "cuda":
        return [device] * size
    import torch

    there = max(1, torch.cuda.device_count())
    return [f"cuda:{number % there}" for number in range(size)]


def set_current_device(device: str) -> None:
    """Makes a GPU the current one of this thread: what goes to plain `cuda` lies there, too."""
    if device.startswith("cuda:"):
        import torch

        torch.cuda.set_device(device)


def with_oom_backoff(
    work: Callable[[int, int, torch.Tensor], None],
    upload: Callable[[int, int, int], torch.Tensor],
    n: int,
    rows: int,
) -> int:
    """Works through n rows in batches; where the device's memory runs out, in ever smaller ones.

    Args:
        work: called with the first row, the one after the last, and `upload`'s batch.
        upload: called with the first row, the one after the last, and the first after the batch
            that is next in turn.
        n: how many rows.
        rows: of a batch to begin with.

    Returns:
        The rows of a batch at the end.

    Raises:
        torch.OutOfMemoryError: not even one row fits.
    """
    import torch

    low = 0
    while low < n:
        high = min(n, low + rows)
        full = False
        try:
            work(low, high, upload(low, high, min(n, high + rows)))
        except torch.OutOfMemoryError:
            if high - low == 1:
                raise
            full = True
        if not full:
            low = high
            continue
        # Out here: the error held the frames that failed, and with them their tensors.
        rows = -(-(high - low) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return rows


def prefetching_uploader(
    array: npt.NDArray[Any], device: str
) -> Callable[[int, int, int], torch.Tensor]:
    """Brings rows of an array to a device; on a GPU the next batch travels while one is at work.

    The batch is copied into pinned memory, from which a stream of its own carries it over, so that
    neither the processor nor the kernels wait for the bus.
    """
    import torch

    if torch.device(device).type != "cuda":
        return lambda low, high, _: torch.from_numpy(array[low:high]).to(device)
    stream = torch.cuda.Stream(device)
    ahead: dict[tuple[int, int], torch.Tensor] = {}
    pinned: list[torch.Tensor] = []

    def send(low: int, high: int) -> torch.Tensor:
        pinned.append(torch.from_numpy(array[low:high]).pin_memory())
        with torch.cuda.stream(stream):
            return pinned[-1].to(device, non_blocking=True)

    def upload(low: int, high: int, after: int) -> torch.Tensor:
        rows = ahead.pop((low, high), None)
        ahead.clear()
        rows = send(low, high) if rows is None else rows
        current = torch.cuda.current_stream(device)
        current.wait_stream(stream)
        rows.record_stream(current)
        if after > high:
            ahead[high, after] = send(high, after)
        # A pinned copy may go when its transfer has ended; two are under way at most.
        del pinned[:-2]
        return rows

    return upload
