"""A store of every kind: SQLite, and PostgreSQL where the environment names a server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from batch_predictions_tests.worlds.serving import ServingWorld, open_world

POSTGRES = "BATCH_PREDICTIONS_TEST_POSTGRES"


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServingWorld]:
    """An empty world for each test."""
    url = empty_postgres_database() if request.param == "postgres" else None
    empty_world = open_world(tmp_path / "home", url)
    yield empty_world
    empty_world.store.close()


def empty_postgres_database() -> str:
    """The address of an empty database; test processes that run at the same time have their own."""
    server = os.environ.get(POSTGRES)
    if not server:
        pytest.skip(f"{POSTGRES} names no PostgreSQL (.ci/with-postgres starts one)")
    name = f"tests_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.exec_driver_sql(f"drop database if exists {name} with (force)")
        db.exec_driver_sql(f"create database {name}")
    engine.dispose()
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)
