"""Fixtures of the engine's tests: a staging function, and scorers without earlier records."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.engine import DoublingScorer, FixedScorer, Staging
from batch_predictions_tests.worlds.pool_fixtures import FailingScorer


@pytest.fixture(autouse=True)
def _clear_scorer_records() -> Iterator[None]:
    yield
    DoublingScorer.opened.clear()
    DoublingScorer.batches.clear()
    DoublingScorer.hooks.clear()
    FixedScorer.rows = []
    FailingScorer.hooks.clear()
    FailingScorer.max_active = 0


@pytest.fixture
def stage(warehouse: Warehouse, settings: Settings) -> Staging:
    return Staging(warehouse, settings.home / "inference")


@pytest.fixture
def one_worker() -> InferenceSettings:
    """Settings of one instance on the CPU."""
    return InferenceSettings(workers=1, device="cpu")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """A fake machine with two GPUs; records the threads that set a current GPU."""
    set_devices: list[tuple[int, str]] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr(
        "torch.cuda.set_device", lambda device: set_devices.append((threading.get_ident(), device))
    )
    return set_devices
