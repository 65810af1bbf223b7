"""Batches on a torch device: halved where memory runs out, the next one uploaded meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

if TYPE_CHECKING:
    import torch


def with_oom_backoff(
    process: Callable[[int, int, torch.Tensor], None],
    upload: Callable[[int, int, int], torch.Tensor],
    n: int,
    batch_rows: int,
) -> int:
    """Processes n rows in batches, and halves the batches when the device runs out of memory.

    Args:
        process: called with `low`, `high` and the uploaded rows `low:high`.
        upload: called with `low`, `high` and the end of the batch after, which may be prefetched.
        n: number of rows.
        batch_rows: rows of a batch at the start.

    Returns:
        The rows of a batch at the end.

    Raises:
        torch.OutOfMemoryError: not even one row fits.
    """
    import torch

    low = 0
    while low < n:
        high = min(n, low + batch_rows)
        is_out_of_memory = False
        try:
            process(low, high, upload(low, high, min(n, high + batch_rows)))
        except torch.OutOfMemoryError:
            if high - low == 1:
                raise
            is_out_of_memory = True
        if not is_out_of_memory:
            low = high
            continue
        # Outside `except`: the error references the frames that failed, and so their tensors.
        batch_rows = -(-(high - low) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return batch_rows


def prefetching_uploader(
    array: npt.NDArray[Any], device: str
) -> Callable[[int, int, int], torch.Tensor]:
    """A function for `with_oom_backoff` that uploads rows of an array to a device.

    On a GPU the next batch is prefetched while one is processed: it is copied into pinned memory
    and transferred on a separate stream, so that neither CPU nor kernels wait for the bus.
    """
    import torch

    if torch.device(device).type != "cuda":
        return lambda low, high, _: torch.from_numpy(array[low:high]).to(device)
    stream = torch.cuda.Stream(device)
    prefetched: dict[tuple[int, int], torch.Tensor] = {}
    pinned: list[torch.Tensor] = []

    def transfer(low: int, high: int) -> torch.Tensor:
        pinned.append(torch.from_numpy(array[low:high]).pin_memory())
        with torch.cuda.stream(stream):
            return pinned[-1].to(device, non_blocking=True)

    def upload(low: int, high: int, next_high: int) -> torch.Tensor:
        rows = prefetched.pop((low, high), None)
        prefetched.clear()
        rows = transfer(low, high) if rows is None else rows
        current = torch.cuda.current_stream(device)
        current.wait_stream(stream)
        rows.record_stream(current)
        if next_high > high:
            prefetched[high, next_high] = transfer(high, next_high)
        # At most two transfers are in flight; earlier pinned copies are free.
        del pinned[:-2]
        return rows

    return upload
