"""A store of every kind that this machine has: SQLite, and PostgreSQL where one is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from batch_predictions_tests.worlds.serving import World, world

POSTGRES = "BATCH_PREDICTIONS_TEST_POSTGRES"


@pytest.fixture(params=["sqlite", "postgres"])
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An empty world of this test's own."""
    url = None
    if request.param == "postgres":
        url = os.environ.get(POSTGRES)
        if not url:
            pytest.skip(f"{POSTGRES} names no PostgreSQL (postgresql+psycopg://…)")
        engine = sa.create_engine(url)
        with engine.begin() as db:
            db.exec_driver_sql("drop schema public cascade; create schema public")
        engine.dispose()
    made = world(tmp_path / "home", url)
    yield made
    made.store.close()
