"""Batches on a device, on a machine without a GPU: a fake of torch's CUDA records its calls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from batch_predictions.models.common.topk import Index
from batch_predictions.models.common.topk import gpu as topk_gpu
from batch_predictions.models.common.topk.device_batches import (
    prefetching_uploader,
    with_oom_backoff,
)


@dataclass
class FakeCuda:
    """Records pinned copies, transfers with their streams, and waits, in order."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    max_rows: int = 10**9
    current: str = "kernels"

    def pin(self, rows: torch.Tensor) -> torch.Tensor:
        self.calls.append(("pin", len(rows)))
        pinned = rows.clone()
        pinned.in_pinned_memory = True  # type: ignore[attr-defined]
        return pinned

    def transfer(self, rows: torch.Tensor, device: str, non_blocking: bool = False) -> torch.Tensor:
        assert getattr(rows, "in_pinned_memory", False) == non_blocking
        if len(rows) > self.max_rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.calls.append(("transfer", len(rows), device, self.current))
        return rows.clone()

    @contextlib.contextmanager
    def use_stream(self, stream: FakeStream) -> Iterator[None]:
        previous, self.current = self.current, stream.name
        yield
        self.current = previous


@dataclass
class FakeStream:
    name: str
    cuda: FakeCuda

    def wait_stream(self, stream: FakeStream) -> None:
        self.cuda.calls.append(("wait", self.name, stream.name))


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream("transfers", fake))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: FakeStream("kernels", fake))
    monkeypatch.setattr(torch.cuda, "stream", fake.use_stream)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: fake.calls.append(("empty_cache",)))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda rows: fake.pin(rows))
    monkeypatch.setattr(
        torch.Tensor, "to", lambda rows, *args, **kwargs: fake.transfer(rows, *args, **kwargs)
    )
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda rows, stream: fake.calls.append(("used", stream.name))
    )
    return fake


def test_the_next_batch_is_transferred_while_one_is_processed(cuda: FakeCuda) -> None:
    array = np.arange(10, dtype=np.float32).reshape(5, 2)
    processed: list[Any] = []

    def process(low: int, high: int, rows: torch.Tensor) -> None:
        cuda.calls.append(("process", low, high))
        processed.extend(rows.tolist())

    assert with_oom_backoff(process, prefetching_uploader(array, "cuda:1"), 5, 2) == 2
    assert processed == array.tolist()
    target = "cuda:1", "transfers"
    assert cuda.calls == [
        ("pin", 2), ("transfer", 2, *target),
        # The kernels wait for this batch, not for the prefetched one.
        ("wait", "kernels", "transfers"), ("used", "kernels"),
        ("pin", 2), ("transfer", 2, *target), ("process", 0, 2),
        ("wait", "kernels", "transfers"), ("used", "kernels"),
        ("pin", 1), ("transfer", 1, *target), ("process", 2, 4),
        ("wait", "kernels", "transfers"), ("used", "kernels"), ("process", 4, 5),
    ]  # fmt: skip


def test_a_batch_that_does_not_fit_is_halved_and_transferred_again(
    cuda: FakeCuda,
) -> None:
    array = np.arange(22, dtype=np.float32).reshape(11, 2)
    processed: list[Any] = []
    sizes: list[int] = []

    def process(low: int, high: int, rows: torch.Tensor) -> None:
        sizes.append(high - low)
        if high - low > 3:  # The batch fits, its product does not.
            raise torch.OutOfMemoryError("CUDA out of memory")
        processed.extend(rows.tolist())

    assert with_oom_backoff(process, prefetching_uploader(array, "cuda"), 11, 8) == 2
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 1] and processed == array.tolist()
    assert cuda.calls.count(("empty_cache",)) == 2


def test_a_transfer_that_does_not_fit_is_halved(cuda: FakeCuda) -> None:
    cuda.max_rows = 2
    array = np.arange(14, dtype=np.float32).reshape(7, 2)
    processed: list[Any] = []
    rows = with_oom_backoff(
        lambda low, high, rows: processed.extend(rows.tolist()),
        prefetching_uploader(array, "cuda"),
        7,
        8,
    )
    assert rows == 2 and processed == array.tolist()
    cuda.max_rows = 0
    with pytest.raises(torch.OutOfMemoryError):
        with_oom_backoff(lambda *_: None, prefetching_uploader(array, "cuda"), 7, 8)


def test_the_cache_is_emptied_after_the_failed_tensors_are_freed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception references its frames, and so their tensors."""
    import gc
    import weakref

    references: list[weakref.ref[Any]] = []
    alive: list[Any] = []

    class Product:
        """A tensor that fills the device."""

    def process(low: int, high: int, rows: object) -> None:
        product = Product()
        references.append(weakref.ref(product))
        if high - low > 1:
            raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: alive.append([ref() for ref in references])
    )
    gc.disable()
    try:
        with_oom_backoff(process, lambda *_: torch.zeros(1), 2, 2)
    finally:
        gc.enable()
    assert alive == [[None]]


def test_the_gpu_search_prefetches_and_gives_the_result_of_the_cpu(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candidates in half precision, exact scores on the CPU, batches that are halved."""
    random = np.random.default_rng(6)
    targets = random.standard_normal((700, 16)).astype(np.float32)
    queries = random.standard_normal((90, 16)).astype(np.float32)
    find_candidates = topk_gpu.GPUCandidates._find_candidates
    sizes = []

    def find_in_small_memory(self: Any, block: torch.Tensor, *args: Any) -> Any:
        sizes.append(len(block))
        if len(block) > 30:
            raise torch.OutOfMemoryError("CUDA out of memory")
        monkeypatch.setattr(self, "device", "cpu", raising=True)  # Where the tensors really are.
        return find_candidates(self, block, *args)

    index = Index(targets)
    expected = index.search(queries, 7)
    source = topk_gpu.GPUCandidates(index.items.targets, index.items.order, "cpu", block_mb=64)
    source.device = "cuda"
    index.candidate_source = source
    monkeypatch.setattr(topk_gpu.GPUCandidates, "_find_candidates", find_in_small_memory)
    result = index.search(queries, 7)
    assert sizes == [90, 45, 23, 23, 23, 21]
    assert (result[0] == expected[0]).all() and result[1].tobytes() == expected[1].tobytes()
    assert ("transfer", 23, "cuda", "transfers") in cuda.calls


def test_a_batch_is_halved_until_it_fits() -> None:
    processed: list[tuple[int, int]] = []

    def process(low: int, high: int, batch: torch.Tensor) -> None:
        if high - low > 3:
            raise torch.OutOfMemoryError("full")
        processed.append((low, high))

    rows = with_oom_backoff(process, lambda low, high, _: torch.zeros(high - low), 10, 8)
    assert rows == 2
    assert processed == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    with pytest.raises(torch.OutOfMemoryError):
        with_oom_backoff(
            lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()),
            lambda *_: torch.empty(0),
            4,
            4,
        )
