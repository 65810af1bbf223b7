"""Devices on a machine without one: torch's CUDA replaced by a fake that notes what it is asked."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from batch_predictions.inference.device import (
    assign_devices,
    choose_device,
    instances,
    prefetching_uploader,
    with_oom_backoff,
)
from batch_predictions.inference.engine import score
from batch_predictions.inference.topk import Index
from batch_predictions.inference.topk import gpu as topk_device
from batch_predictions.settings import InferenceSettings
from batch_predictions_tests.worlds.engine import Doubler, Staging, values


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
    assert assign_devices("cuda", 5) == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)  # Torch counts it, CUDA hides it.
    assert assign_devices("cuda", 2) == ["cuda:0", "cuda:0"]
    assert assign_devices("cpu", 2) == ["cpu", "cpu"]


def test_the_next_batch_travels_from_pinned_memory_while_one_is_at_work(cuda: FakeCuda) -> None:
    array = np.arange(10, dtype=np.float32).reshape(5, 2)
    worked: list[Any] = []

    def work(low: int, high: int, rows: torch.Tensor) -> None:
        cuda.asked.append(("work", low, high))
        worked.extend(rows.tolist())

    assert with_oom_backoff(work, prefetching_uploader(array, "cuda:1"), 5, 2) == 2
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

    assert with_oom_backoff(work, prefetching_uploader(array, "cuda"), 11, 8) == 2
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 1] and worked == array.tolist()
    assert cuda.asked.count(("emptied",)) == 2


def test_a_transfer_without_room_is_halved_too(cuda: FakeCuda) -> None:
    cuda.room = 2
    array = np.arange(14, dtype=np.float32).reshape(7, 2)
    worked: list[Any] = []
    rows = with_oom_backoff(
        lambda low, high, rows: worked.extend(rows.tolist()),
        prefetching_uploader(array, "cuda"),
        7,
        8,
    )
    assert rows == 2 and worked == array.tolist()
    cuda.room = 0
    with pytest.raises(torch.OutOfMemoryError):
        with_oom_backoff(lambda *_: None, prefetching_uploader(array, "cuda"), 7, 8)


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
        with_oom_backoff(work, lambda *_: torch.zeros(1), 2, 2)
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
    find = topk_device.GPUCandidates._candidates
    sizes = []

    def small(self: Any, block: torch.Tensor, *rest: Any) -> Any:
        sizes.append(len(block))
        if len(block) > 30:
            raise torch.OutOfMemoryError("CUDA out of memory")
        monkeypatch.setattr(self, "device", "cpu", raising=True)  # Where the numbers truly are.
        return find(self, block, *rest)

    index = Index(targets)
    expected = index.search(queries, 7)
    source = topk_device.GPUCandidates(index.items.targets, index.items.order, "cpu", block_mb=64)
    source.device = "cuda"
    index.candidate_source = source
    monkeypatch.setattr(topk_device.GPUCandidates, "_candidates", small)
    found = index.search(queries, 7)
    assert sizes == [90, 45, 23, 23, 23, 21]
    assert (found[0] == expected[0]).all() and found[1].tobytes() == expected[1].tobytes()
    assert ("carry", 23, "cuda", "transfers") in cuda.asked


def test_a_batch_that_does_not_fit_is_halved_until_it_does():
    taken: list[tuple[int, int]] = []

    def work(low: int, high: int, batch: torch.Tensor) -> None:
        if high - low > 3:
            raise torch.OutOfMemoryError("full")
        taken.append((low, high))

    rows = with_oom_backoff(work, lambda low, high, _: torch.zeros(high - low), 10, 8)
    assert rows == 2
    assert taken == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    with pytest.raises(torch.OutOfMemoryError):
        with_oom_backoff(
            lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()), lambda *_: None, 4, 4
        )


# --- which one, and for whom ---------------------------------------------------------------------


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """A machine with two GPUs, as torch would say; which thread entered which of them."""
    entered: list[tuple[int, str]] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr(
        "torch.cuda.set_device", lambda each: entered.append((threading.get_ident(), each))
    )
    return entered


def test_with_a_gpu_it_is_taken_unless_told_otherwise(gpus: object) -> None:
    assert [choose_device(each) for each in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]


def test_without_a_gpu_auto_is_the_processor_and_cuda_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert [choose_device(each) for each in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(RuntimeError, match=r"inference\.device is cuda .* set it to auto"):
        choose_device("cuda")


def test_there_is_an_instance_for_each_gpu_or_core_unless_told_otherwise(
    gpus: object,
) -> None:
    assert instances(0, "cuda") == 2
    assert instances(0, "cpu") == len(os.sched_getaffinity(0))
    assert instances(5, "cuda") == instances(5, "cpu") == 5


def test_instances_are_dealt_over_the_gpus(gpus: list[tuple[int, str]], stage: Staging) -> None:
    path = stage(20, shard_rows=2)
    together = threading.Barrier(5, timeout=60)
    Doubler.before.append(lambda ids: together.wait())
    done = score(path, InferenceSettings(workers=5))
    assert (done.device, done.instances) == ("cuda:0, cuda:1", 5)
    opened = sorted(opening.device for _, opening in Doubler.opened)
    assert opened == ["cuda:0"] * 3 + ["cuda:1"] * 2
    # Each thread's own tensors on `cuda` lie on its instance's GPU, too.
    assert sorted(gpus) == sorted((thread, opening.device) for thread, opening in Doubler.opened)


def test_one_instance_for_each_gpu_unless_told_otherwise(gpus: object, stage: Staging) -> None:
    together = threading.Barrier(2, timeout=60)
    Doubler.before.append(lambda ids: together.wait())
    assert score(stage(16), InferenceSettings()).instances == 2
    assert sorted(opening.device for _, opening in Doubler.opened) == ["cuda:0", "cuda:1"]


def test_a_scorer_that_never_uses_a_gpu_gets_the_cores(
    gpus: object, stage: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(Doubler, "uses_gpu", False, raising=False)
    done = score(stage(20), InferenceSettings())
    assert (done.device, done.instances) == ("cpu", 4)
    assert {opening.device for _, opening in Doubler.opened} == {"cpu"}


def test_whether_a_gpu_is_used_may_depend_on_the_model(
    gpus: object, stage: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wants = classmethod(lambda cls, model: model is not None and (model / "wide").exists())
    monkeypatch.setattr(Doubler, "uses_gpu", wants, raising=False)
    for name, device in (("wide", "cuda:0"), ("narrow", "cpu")):
        (folder := tmp_path / name).mkdir()
        (folder / name).touch()
        path = stage(3, model="m", model_version=name, model_folder=folder)
        assert score(path, InferenceSettings()).device == device


def test_an_instance_that_failed_is_opened_again_on_its_own_gpu(
    gpus: object, stage: Staging
) -> None:
    failed: list[str] = []

    def once_each(ids: list[str]) -> None:
        if len(failed) < 3:
            failed.append(ids[0])
            raise ValueError("not now")

    Doubler.before.append(once_each)
    path = stage(40)
    assert score(path, InferenceSettings(workers=2)).retried == 3
    by_thread: dict[int, set[str]] = {}
    for thread, opening in Doubler.opened:
        by_thread.setdefault(thread, set()).add(opening.device)
    assert len(Doubler.opened) > len(by_thread)
    assert all(len(each) == 1 for each in by_thread.values())
    assert len(set.union(*by_thread.values())) == len(by_thread)
    assert values(path) == {str(n): 2 * n for n in range(40)}


def test_where_all_results_are_kept_no_device_is_looked_for(
    stage: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stage(3)
    score(path, InferenceSettings(workers=1, device="cpu"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert score(path, InferenceSettings(device="cuda")).kept == 3
