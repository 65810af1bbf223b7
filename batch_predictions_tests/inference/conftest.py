"""The numbers' world for every test of the engine, clean at the start of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine_worlds import Answering, Doubler, Staging

from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse


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
