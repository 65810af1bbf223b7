"""URLs of databases: no error quotes one, and messages show none of its secrets."""

from __future__ import annotations

import importlib.util
import re

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

_EXAMPLE = (
    "write one such as postgresql://user:password@host:5432/database or sqlite:////path/file, with "
    "the characters @ : / ? # % of user and password percent-encoded (@ is %40)"
)


class DatabaseUrlError(ValueError):
    """A setting is not the URL of a database; the message names the setting, not its value."""


def parse_database_url(text: str, setting: str) -> sa.URL:
    """Parses a setting in SQLAlchemy's format; `postgres:` is taken for `postgresql:`.

    Args:
        text: the URL.
        setting: its name, for messages.

    Raises:
        DatabaseUrlError: it is not a URL of a database, or has an @ in its user or password.
    """
    try:
        url = sa.make_url(re.sub(r"^postgres(?=[:+])", "postgresql", text.strip()))
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        url, backend = None, ""
    # Raised outside of the block, so that no traceback has the error that quotes the URL.
    if url is None or not backend:
        raise DatabaseUrlError(f"{setting} is not a URL of a database: {_EXAMPLE}")
    if "@" in (url.host or ""):
        raise DatabaseUrlError(f"{setting} has an @ in its user or password: write it as %40")
    return url


def parse_written_database_url(text: str, setting: str) -> sa.URL:
    """Parses the URL of a database that is written: SQLite, or PostgreSQL with psycopg.

    `postgresql:` is psycopg whatever SQLAlchemy takes it for, which was psycopg2 before 2.1.

    Raises:
        DatabaseUrlError: as `parse_database_url`, or psycopg is not installed.
    """
    url = parse_database_url(text, setting)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_driver_name() == "psycopg" and importlib.util.find_spec("psycopg") is None:
        raise DatabaseUrlError(
            f"{setting} needs psycopg: install batch_predictions with the extra postgres"
        )
    return url


def location_of(url: sa.URL) -> str:
    """A URL without user, password and options, for messages."""
    bare = sa.URL.create(url.drivername, host=url.host, port=url.port, database=url.database)
    return bare.render_as_string()
