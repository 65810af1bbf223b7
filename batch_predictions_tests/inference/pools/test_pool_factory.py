"""Devices and number of instances: one per GPU or core, as settings and scorer require."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from batch_predictions.inference.pools.engine import score
from batch_predictions.settings import InferenceSettings
from batch_predictions_tests.worlds.engine import DoublingScorer, Staging, read_values


def test_every_thread_sets_the_gpu_of_its_instance(
    gpus: list[tuple[int, str]], stage: Staging
) -> None:
    path = stage(20, shard_rows=2)
    barrier = threading.Barrier(5, timeout=600)
    DoublingScorer.hooks.append(lambda ids: barrier.wait())
    summary = score(path, InferenceSettings(workers=5))
    assert (summary.device, summary.instances) == ("cuda:0, cuda:1", 5)
    devices = sorted(context.device for _, context in DoublingScorer.opened)
    assert devices == ["cuda:0"] * 3 + ["cuda:1"] * 2
    # So that plain `cuda` is the instance's GPU too.
    assert sorted(gpus) == sorted(
        (thread, context.device) for thread, context in DoublingScorer.opened
    )


def test_the_engine_opens_one_instance_per_gpu_by_default(gpus: object, stage: Staging) -> None:
    barrier = threading.Barrier(2, timeout=600)
    DoublingScorer.hooks.append(lambda ids: barrier.wait())
    assert score(stage(16), InferenceSettings()).instances == 2
    assert sorted(context.device for _, context in DoublingScorer.opened) == ["cuda:0", "cuda:1"]


def test_a_scorer_that_uses_no_gpu_has_one_instance_per_core(
    gpus: object, stage: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(DoublingScorer, "uses_gpu", False, raising=False)
    summary = score(stage(20), InferenceSettings())
    assert (summary.device, summary.instances) == ("cpu", 4)
    assert {context.device for _, context in DoublingScorer.opened} == {"cpu"}


def test_whether_a_gpu_is_used_may_depend_on_the_model(
    gpus: object, stage: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_gpu = classmethod(lambda cls, model: model is not None and (model / "wide").exists())
    monkeypatch.setattr(DoublingScorer, "uses_gpu", needs_gpu, raising=False)
    for name, device in (("wide", "cuda:0"), ("narrow", "cpu")):
        (folder := tmp_path / name).mkdir()
        (folder / name).touch()
        path = stage(3, model="m", model_version=name, model_folder=folder)
        assert score(path, InferenceSettings()).device == device


def test_a_failed_instance_is_opened_again_on_the_same_gpu(gpus: object, stage: Staging) -> None:
    failed: list[str] = []

    def fail_three_times(ids: list[str]) -> None:
        if len(failed) < 3:
            failed.append(ids[0])
            raise ValueError("not now")

    DoublingScorer.hooks.append(fail_three_times)
    path = stage(40)
    assert score(path, InferenceSettings(workers=2)).retries == 3
    devices_by_thread: dict[int, set[str]] = {}
    for thread, context in DoublingScorer.opened:
        devices_by_thread.setdefault(thread, set()).add(context.device)
    assert len(DoublingScorer.opened) > len(devices_by_thread)
    assert all(len(devices) == 1 for devices in devices_by_thread.values())
    assert len(set.union(*devices_by_thread.values())) == len(devices_by_thread)
    assert read_values(path) == {str(n): 2 * n for n in range(40)}


def test_no_device_is_chosen_where_all_results_exist(
    stage: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stage(3)
    score(path, InferenceSettings(workers=1, device="cpu"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert score(path, InferenceSettings(device="cuda")).reused_rows == 3
