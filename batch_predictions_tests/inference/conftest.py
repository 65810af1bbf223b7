"""The numbers' world for every test of the engine, clean at the start of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.engine import Answering, Doubler, Staging


@pytest.fixture(autouse=True)
def _nothing_asked_yet() -> Iterator[None]:
    yield
    Doubler.opened.clear()
    Doubler.asked.clear()
    Doubler.before.clear()
    Answering.rows = []


@pytest.fixture
def stage(warehouse: Warehouse, settings: Settings) -> Staging:
    return Staging(warehouse, settings.home / "inference")
