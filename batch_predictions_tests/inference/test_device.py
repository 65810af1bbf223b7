"""Devices on a machine without a GPU, and with a fake of two."""

from __future__ import annotations

import os

import pytest
import torch

from batch_predictions.inference.device import (
    assign_devices,
    choose_device,
    instance_count,
)


def test_instances_are_assigned_to_gpus_round_robin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert assign_devices("cuda", 5) == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)  # CUDA_VISIBLE_DEVICES hides all.
    assert assign_devices("cuda", 2) == ["cuda:0", "cuda:0"]
    assert assign_devices("cpu", 2) == ["cpu", "cpu"]


def test_auto_chooses_a_gpu_where_there_is_one(gpus: object) -> None:
    assert choose_device("auto") == choose_device("cuda") == "cuda"
    assert choose_device("cpu") == "cpu"


def test_without_a_gpu_auto_is_the_cpu_and_cuda_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert [choose_device(setting) for setting in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(RuntimeError, match=r"inference\.device is cuda .* set it to auto"):
        choose_device("cuda")


def test_there_is_one_instance_per_gpu_or_core_by_default(
    gpus: object,
) -> None:
    assert instance_count(0, "cuda") == 2
    assert instance_count(0, "cpu") == len(os.sched_getaffinity(0))
    assert instance_count(5, "cuda") == instance_count(5, "cpu") == 5
