"""The table `raw.pets` is declared during each test of the warehouse."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batch_predictions.tables import TABLES, declare
from batch_predictions_tests.worlds.pets import PETS


@pytest.fixture(autouse=True)
def _pets() -> Iterator[None]:
    """The table of these tests, taken back afterwards."""
    declare(PETS)
    yield
    del TABLES[PETS.qualified]
