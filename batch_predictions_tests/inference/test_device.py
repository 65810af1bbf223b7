"""Devices on a machine without one: torch's CUDA replaced by a fake that notes what it is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from batch_predictions.inference.device import dealt, halving, uploads
from batch_predictions.inference.topk import Index
from batch_predictions.inference.topk import device as topk_device


@dataclass
class FakeCuda:
    """What torch was asked, in turn: pinned copies, transfers and their streams, waits."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)
    room: int = 10**9
    current: str = "kernels"

    def pin(self, rows: torch.Tensor) -> torch.Tensor:
        self.asked.append(("pin", len(rows)))
        pinned = rows.clone()
        pinned.of_pinned_memory = True  # type: ignore[attr-defined]
        return pinned

    def carry(self, rows: torch.Tensor, device: str, non_blocking: bool = False) -> torch.Tensor:
        assert getattr(rows, "of_pinned_memory", False) == non_blocking
        if len(rows) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.asked.append(("carry", len(rows), device, self.current))
        return rows.clone()

    @contextlib.contextmanager
    def on(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream.name
        yield
        self.current = before


@dataclass
class FakeStream:
    name: str
    cuda: FakeCuda

    def wait_stream(self, other: FakeStream) -> None:
        self.cuda.asked.append(("wait", self.name, other.name))


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream("transfers", fake))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: FakeStream("kernels", fake))
    monkeypatch.setattr(torch.cuda, "stream", fake.on)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: fake.asked.append(("emptied",)))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda rows: fake.pin(rows))
    monkeypatch.setattr(torch.Tensor, "to", lambda rows, *to, **how: fake.carry(rows, *to, **how))
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda rows, stream: fake.asked.append(("used", stream.name))
    )
    return fake


def test_instances_are_dealt_over_the_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert dealt("cuda", 5) == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)  # Torch counts it, CUDA hides it.
    assert dealt("cuda", 2) == ["cuda:0", "cuda:0"]
    assert dealt("cpu", 2) == ["cpu", "cpu"]


def test_the_next_batch_travels_from_pinned_memory_while_one_is_at_work(cuda: FakeCuda) -> None:
    array = np.arange(10, dtype=np.float32).reshape(5, 2)
    worked: list[Any] = []

    def work(low: int, high: int, rows: torch.Tensor) -> None:
        cuda.asked.append(("work", low, high))
        worked.extend(rows.tolist())

    assert halving(work, uploads(array, "cuda:1"), 5, 2) == 2
    assert worked == array.tolist()
    there = "cuda:1", "transfers"
    assert cuda.asked == [
        ("pin", 2), ("carry", 2, *there),
        # The kernels wait for what has been sent so far, not for the batch after.
        ("wait", "kernels", "transfers"), ("used", "kernels"),
        ("pin", 2), ("carry", 2, *there), ("work", 0, 2),
        ("wait", "kernels", "transfers"), ("used", "kernels"),
        ("pin", 1), ("carry", 1, *there), ("work", 2, 4),
        ("wait", "kernels", "transfers"), ("used", "kernels"), ("work", 4, 5),
    ]  # fmt: skip


def test_a_batch_without_room_is_halved_and_what_was_sent_ahead_is_sent_again(
    cuda: FakeCuda,
) -> None:
    array = np.arange(22, dtype=np.float32).reshape(11, 2)
    worked: list[Any] = []
    sizes: list[int] = []

    def work(low: int, high: int, rows: torch.Tensor) -> None:
        sizes.append(high - low)
        if high - low > 3:  # The transfer had room, the product has none.
            raise torch.OutOfMemoryError("CUDA out of memory")
        worked.extend(rows.tolist())

    assert halving(work, uploads(array, "cuda"), 11, 8) == 2
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 1] and worked == array.tolist()
    assert cuda.asked.count(("emptied",)) == 2


def test_a_transfer_without_room_is_halved_too(cuda: FakeCuda) -> None:
    cuda.room = 2
    array = np.arange(14, dtype=np.float32).reshape(7, 2)
    worked: list[Any] = []
    rows = halving(
        lambda low, high, rows: worked.extend(rows.tolist()), uploads(array, "cuda"), 7, 8
    )
    assert rows == 2 and worked == array.tolist()
    cuda.room = 0
    with pytest.raises(torch.OutOfMemoryError):
        halving(lambda *_: None, uploads(array, "cuda"), 7, 8)


def test_memory_is_given_back_when_what_failed_no_longer_holds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error keeps the frames that it came through, and these their tensors."""
    import gc
    import weakref

    held: list[weakref.ref[Any]] = []
    left: list[Any] = []

    class Big:
        """Stands for a product that fills the device."""

    def work(low: int, high: int, rows: object) -> None:
        big = Big()
        held.append(weakref.ref(big))
        if high - low > 1:
            raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: left.append([each() for each in held]))
    gc.disable()
    try:
        halving(work, lambda *_: torch.zeros(1), 2, 2)
    finally:
        gc.enable()
    assert left == [[None]]


def test_the_search_sends_its_users_ahead_and_answers_as_the_processor(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way of a GPU: half precision there, exact scores here, batches that are halved."""
    random = np.random.default_rng(6)
    targets = random.standard_normal((700, 16)).astype(np.float32)
    queries = random.standard_normal((90, 16)).astype(np.float32)
    find = topk_device.OnDevice._candidates
    sizes = []

    def small(self: Any, block: torch.Tensor, *rest: Any) -> Any:
        sizes.append(len(block))
        if len(block) > 30:
            raise torch.OutOfMemoryError("CUDA out of memory")
        monkeypatch.setattr(self, "device", "cpu", raising=True)  # Where the numbers truly are.
        return find(self, block, *rest)

    index = Index(targets)
    expected = index.search(queries, 7)
    index.elsewhere = topk_device.OnDevice(index.targets, index.order, "cpu", block_mb=64)
    index.elsewhere.device = "cuda"
    monkeypatch.setattr(topk_device.OnDevice, "_candidates", small)
    found = index.search(queries, 7)
    assert sizes == [90, 45, 23, 23, 23, 21]
    assert (found[0] == expected[0]).all() and found[1].tobytes() == expected[1].tobytes()
    assert ("carry", 23, "cuda", "transfers") in cuda.asked
