"""A store of every kind: SQLite, and PostgreSQL where the environment names a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_predictions_tests.worlds.serving import ServingWorld, open_world


@pytest.fixture
def world(database_url: str | None, tmp_path: Path) -> Iterator[ServingWorld]:
    """An empty world for each test."""
    empty_world = open_world(tmp_path / "home", database_url)
    yield empty_world
    empty_world.store.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingWorld]:
    """A home with a release, in SQLite; tests only read."""
    world = open_world(tmp_path_factory.mktemp("released") / "home")
    world.release()
    yield world
    world.store.close()
