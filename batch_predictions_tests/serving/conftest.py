"""A store of every kind: SQLite, and PostgreSQL where the environment names a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_predictions_tests.worlds.postgres import empty_postgres
from batch_predictions_tests.worlds.serving import ServingWorld, open_world


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServingWorld]:
    """An empty world for each test."""
    url = empty_postgres() if request.param == "postgres" else None
    empty_world = open_world(tmp_path / "home", url)
    yield empty_world
    empty_world.store.close()
