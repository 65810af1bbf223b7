"""Tables of the rows that applications post to the HTTP service, until they are ingested.

The service writes them (`sources/posted_rows/writer.py`), the ingest reads them (`reader.py`).
They are not in the serving store's file, since a release that is being published holds its lock.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from batch_predictions.core.database_url import parse_database_url
from batch_predictions.settings import Settings

METADATA = sa.MetaData()
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
POSTED_EVENTS = sa.Table(
    "posted_events",
    METADATA,
    # Counts up and is never given twice, so that number and count together tell states apart.
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.String, nullable=False, unique=True),
    sa.Column("event_type", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("item_id", sa.String, nullable=False),
    sa.Column("recommendation_id", sa.String),
    sa.Column("release_id", sa.String),
    sa.Column("source", sa.String),
    sa.Column("rank", sa.Integer),
    sa.Column("bucket", sa.String),
    # UTC, as in raw tables.
    sa.Column("occurred_at", sa.DateTime, nullable=False),
    sa.Column("received_at", sa.DateTime, nullable=False),
    sa.Index("ix_posted_events_occurred_at", "occurred_at", "number"),
    sqlite_autoincrement=True,
)
POSTED_USERS = sa.Table(
    "posted_users",
    METADATA,
    # Every change of a user is a row, so that the ingest of a day knows what was known by then.
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("age_bracket", sa.String),
    sa.Column("gender", sa.String),
    sa.Column("location", sa.String),
    sa.Column("signed_up_on", sa.Date),
    sa.Column("posted_at", sa.DateTime, nullable=False),
    sa.Index("ix_posted_users_user_id", "user_id", "number"),
    sqlite_autoincrement=True,
)
POSTED_PRUNED = sa.Table(
    "posted_pruned",
    METADATA,
    # What `posted_pruning.py` has removed, since the warehouse has it, and erasures, as
    # `ERASED_EVENTS`: rows, and their highest number.
    sa.Column("table_name", sa.String, primary_key=True),
    sa.Column("begins_at", sa.DateTime, primary_key=True),
    sa.Column("ends_at", sa.DateTime, nullable=False),
    sa.Column("rows", _NUMBER, nullable=False),
    sa.Column("number", _NUMBER, nullable=False),
)
ERASED_EVENTS = "erased_events"
"""Name in `posted_pruned` of the events of erased users, which the warehouse does not have."""


def posted_url(settings: Settings) -> str:
    """The URL of the database of posted rows: `serving.posted_url`, else beside the serving store.

    Beside an SQLite store `serving.sqlite` it is `serving-posted.sqlite`; in PostgreSQL its tables
    are in the store's database.

    Raises:
        DatabaseUrlError: a setting is not the URL of a database; the message does not quote it.
    """
    if settings.serving.posted_url:
        parse_database_url(settings.serving.posted_url, "serving.posted_url")
        return settings.serving.posted_url
    if settings.serving.url is None:
        return _sqlite_url(settings.home.absolute() / "serving.sqlite")
    url = parse_database_url(settings.serving.url, "serving.url")
    if url.get_backend_name() == "sqlite" and url.database:
        return _sqlite_url(Path(url.database).absolute())
    return settings.serving.url


def _sqlite_url(store: Path) -> str:
    return f"sqlite:///{store.with_name(f'{store.stem}-posted{store.suffix}')}"
