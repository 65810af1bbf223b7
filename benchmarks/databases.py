"""Databases of a PostgreSQL server, for benchmarks that write to one."""

from __future__ import annotations

import sqlalchemy as sa


def create_database(server: str, name: str, template: str | None = None) -> str:
    """Creates a database, instead of one of that name; its URL.

    Args:
        server: URL of a database of the server.
        name: of the new database.
        template: a database that is copied.
    """
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.exec_driver_sql(f"drop database if exists {name} with (force)")
        if template:
            db.exec_driver_sql(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                f"where datname = '{template}'"
            )
        db.exec_driver_sql(f"create database {name} template {template or 'template0'}")
    engine.dispose()
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)
