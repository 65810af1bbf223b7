"""An empty PostgreSQL database for a test, where the environment names a server."""

from __future__ import annotations

import os

import pytest
import sqlalchemy as sa

POSTGRES = "BATCH_PREDICTIONS_TEST_POSTGRES"


def require_psycopg() -> None:
    """Skips a test without the driver of PostgreSQL."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install -e '.[postgres]'")


def require_dagster_postgres() -> None:
    """Skips a test without Dagster's storages for PostgreSQL."""
    reason = "dagster-postgres is not installed: pip install -e '.[postgres]'"
    pytest.importorskip("dagster_postgres", reason=reason)


def empty_postgres() -> str:
    """The URL of an empty database of this test process; skips without a server or a driver."""
    server = os.environ.get(POSTGRES)
    if not server:
        pytest.skip(f"{POSTGRES} names no PostgreSQL (.ci/with-postgres starts one)")
    require_psycopg()
    name = f"tests_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.exec_driver_sql(f"drop database if exists {name} with (force)")
        db.exec_driver_sql(f"create database {name}")
    engine.dispose()
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


BACKENDS = (
    pytest.param(lambda: None, id="sqlite"),
    pytest.param(empty_postgres, id="postgres", marks=pytest.mark.slow),
)
"""Functions that give the URL of an empty database; SQLite's has its usual place in a home."""
